//! The methods that both kinds of head have.

/// Implements them for a type that has `fields`, `content_length`, `fault` and `push_field`.
macro_rules! common {
    ($head:ty) => {
        impl $head {
            /// Adds a field. Its name must be in lower case. A field that HTTP/2 forbids is
            /// reported as [`Misuse::InvalidField`](crate::Misuse::InvalidField) when the head is
            /// used; [`validate`](Self::validate) names it.
            #[must_use]
            pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
                self.push(name, value);
                self
            }

            /// Adds a field as [`field`](Self::field) does.
            pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
                self.push_field(Field {
                    known: KnownName::of(name.as_bytes()),
                    name: name.as_bytes(),
                    value: value.as_ref(),
                    never_indexed: false,
                });
            }

            /// Returns the value of `content-length`, if the field is present.
            pub fn content_length(&self) -> Option<u64> {
                self.content_length
            }

            /// Returns the first value of a field, by its lower-case name.
            pub fn get(&self, name: &str) -> Option<&[u8]> {
                self.fields.get(name)
            }

            /// Returns the first value of a field with a known name: cheaper than
            /// [`get`](Self::get).
            pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
                self.fields.get_known(name)
            }

            /// Returns all fields, pseudo-fields first.
            pub fn fields(&self) -> &Fields {
                &self.fields
            }

            /// Returns the list itself, for example to reuse its memory.
            pub fn into_fields(self) -> Fields {
                self.fields
            }

            /// Takes the list itself out, for example to reuse its memory. Leaves a head without
            /// fields.
            pub fn take_fields(&mut self) -> Fields {
                std::mem::take(&mut self.fields)
            }

            /// Whether a builder was given something that HTTP/2 forbids, which includes what
            /// HTTP/1.1 forbids.
            pub fn is_invalid(&self) -> bool {
                self.fault.is_some()
            }

            /// Checks what the builder was given, as every call that takes a head does.
            ///
            /// # Errors
            /// Returns the first fault, with the name of the field.
            pub fn validate(&self) -> Result<(), InvalidHead> {
                match self.fault {
                    Some(fault) => Err(fault.explain(&self.fields)),
                    None => Ok(()),
                }
            }
        }

        impl std::fmt::Debug for $head {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.fields.fmt(f)
            }
        }
    };
}
