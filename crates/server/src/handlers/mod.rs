//! Handlers, which answer requests.

pub mod asset;
pub mod beneath;
pub mod conditional;
pub mod demo;
pub mod done;
pub mod download;
pub mod echo;
pub mod fallback;
pub mod file_places;
pub mod files;
pub mod kept;
pub mod look;
pub mod lookup;
pub mod own_connection;
pub mod pieces;
pub mod redirect;
pub mod shared;
pub mod status;
pub mod upload;

use crate::in_progress::Work;
use crate::request::{Outcome, Request};

/// The table of handlers that routes name by a word: word, function, whether a GET returns content
/// that pages can need, and curl's options to try the handler.
macro_rules! named {
    ($($(#[$doc:meta])* $name:ident => $word:literal, $answer:path, $has_content:literal, $curl:literal;)*) => {
        /// A handler that routes name by a word, as in `--route /health=status`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Named {
            $($(#[$doc])* $name,)*
        }

        impl Named {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whether a GET returns content that pages can need.
            pub fn has_content(self) -> bool {
                match self { $(Self::$name => $has_content,)* }
            }

            /// Returns curl's options to try the handler.
            pub fn curl(self) -> &'static str {
                match self { $(Self::$name => $curl,)* }
            }

            /// Answers a request, or begins to.
            pub fn answer(self, request: &mut Request<'_>) -> Outcome<Work> {
                match self { $(Self::$name => $answer(request),)* }
            }
        }
    };
}

named! {
    /// `{"status":"ok"}`
    Status => "status", status::answer, true, "";
    /// Counts and digests a body.
    Upload => "upload", upload::answer, false, "-T FILE ";
    /// Sends a body back.
    Echo => "echo", echo::answer, false, "-d hello ";
}
