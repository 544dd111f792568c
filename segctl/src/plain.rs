//! Text from outside, made safe for a terminal: reasons, descriptions and names were written by others, and must
//! neither move the cursor nor hide or turn round what stands beside them. JSON and YAML are left as they came.

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The same answer, with every character that a terminal would obey instead of show replaced.
pub(crate) fn cleaned<T: Serialize + DeserializeOwned>(answer: &T) -> anyhow::Result<T> {
    let mut value = serde_json::to_value(answer).context("looking through the answer")?;
    clean(&mut value);
    serde_json::from_value(value).context("looking through the answer")
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(is_trick) => *text = text.replace(is_trick, "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

/// Controls, and marks without width that turn text round or hide it. Line feeds stay: pictures of faults have them.
fn is_trick(c: char) -> bool {
    let invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    invisible || (c.is_control() && c != '\n')
}

#[cfg(test)]
mod tests {
    use segd::api::types::ServiceView;

    use super::*;

    #[test]
    fn escapes_and_turned_text_lose_their_power_and_the_rest_stays() {
        let hostile =
            ServiceView { name: "we\x1b[2Jb".into(), members: vec!["tcp/80\u{202e}".into(), "Grüße\n".into()] };
        let seen = cleaned(&hostile).unwrap();
        assert_eq!(seen.name, "we\u{fffd}[2Jb");
        assert_eq!(seen.members, ["tcp/80\u{fffd}", "Grüße\n"]);
    }
}
