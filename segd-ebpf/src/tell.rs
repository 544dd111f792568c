//! Words for developers, on ways that no packet should take. Without the feature `log` there is nothing here: a statement
//! costs 165 ns, and its reader trusts what it reads.

/// Says it as a warning, if this build has words.
macro_rules! say {
    ($ctx:expr, $words:literal) => {{
        #[cfg(feature = "log")]
        aya_log_ebpf::warn!($ctx, $words);
        #[cfg(not(feature = "log"))]
        let _ = $ctx;
    }};
}

pub(crate) use say;
