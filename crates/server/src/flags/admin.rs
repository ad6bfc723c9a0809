//! The flags of the admin listener.

use clap::Args;

use super::values::Switch;
use crate::admin::AdminAddress;

/// The flags of the admin listener.
#[derive(Clone, Debug, Args)]
pub struct AdminFlags {
    /// Serve metrics, health checks and the state of the server to its operators, in cleartext:
    /// ADDR:PORT, PORT (of 127.0.0.1), unix:/PATH or none
    #[arg(long, value_name = "ADDR", help_heading = "Admin", default_value = "none", value_parser = AdminAddress::parse)]
    pub admin: AdminAddress,

    /// Accept an --admin address that other machines may reach. Whoever reaches it can read all
    /// that it serves
    #[arg(long, help_heading = "Admin")]
    pub admin_public: bool,

    /// Name by which clients may call the admin listener, beside localhost and IP addresses.
    /// Repeatable
    #[arg(long, value_name = "NAME", help_heading = "Admin")]
    pub admin_name: Vec<String>,

    /// Whether those who reach the admin listener may end connections and take addresses of
    /// upstreams out of use
    #[arg(long, value_name = "on|off", help_heading = "Admin", value_enum, default_value_t = Switch::Off, hide_possible_values = true)]
    pub admin_write: Switch,
}
