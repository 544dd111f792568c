//! The daemon's rooms, and the types that `segctl` shares with it.
//!
//! `policy` is what a zone file means, `config` turns files into it, `compile` turns it into an image (pure),
//! `datapath` is the only room that names aya, `interfaces` listens to netlink, `engine` holds them together,
//! `api` and `metrics` are what others see.

pub mod api;
pub mod compile;
pub mod config;
pub mod datapath;
pub mod engine;
pub mod frames;
pub mod history;
pub mod interfaces;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod seen;
pub mod state;
pub mod suggest;
