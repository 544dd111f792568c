//! The kernel programs' object, embedded by the build script.

use super::DatapathError;

#[cfg(segd_ebpf)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SEGD_EBPF_OBJECT"));
#[cfg(not(segd_ebpf))]
static OBJECT: &[u8] = &[];

/// The object.
///
/// # Errors
/// This build has none.
pub(super) fn object() -> Result<&'static [u8], DatapathError> {
    if OBJECT.is_empty() { Err(DatapathError::NoObject) } else { Ok(OBJECT) }
}
