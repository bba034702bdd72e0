//! The macros that turn a declaration into structures, unions and parameters with both wire forms. What an interface is
//! made of them is declared with [`interface!`](crate::interface!).

/// Declares structures: their fields in the order of the wire, each of a kind that is [`Ndr`](crate::ndr::Ndr).
///
/// ```
/// dcerpc_rs::ndr_structures! {
///     /// A counter with its name.
///     pub struct Counter {
///         /// Its name.
///         pub name: Option<String>,
///         /// Its value.
///         pub value: u64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! ndr_structures {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $kind:ty),+ $(,)?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $kind,)+
        }

        impl $crate::ndr::Ndr for $name {
            const BYTES_MIN: usize = 0 $(+ <$kind as $crate::ndr::Ndr>::BYTES_MIN)+;

            fn alignment(syntax: $crate::TransferSyntax) -> usize {
                let largest = 1;
                $(let largest = largest.max(<$kind as $crate::ndr::Ndr>::alignment(syntax));)+
                largest
            }

            fn encode(&self, out: &mut $crate::ndr::NdrWriter) {
                let boundary = <Self as $crate::ndr::Ndr>::alignment(out.syntax());
                out.align(boundary);
                $($crate::ndr::Ndr::encode(&self.$field, out);)+
                out.align_ndr64(boundary);
            }

            fn encode_deferred(&self, out: &mut $crate::ndr::NdrWriter) {
                $($crate::ndr::Ndr::encode_deferred(&self.$field, out);)+
            }

            fn decode(&mut self, reader: &mut $crate::ndr::NdrReader<'_>) -> Result<(), $crate::ndr::NdrError> {
                let boundary = <Self as $crate::ndr::Ndr>::alignment(reader.syntax());
                reader.align(boundary)?;
                $($crate::ndr::Ndr::decode(&mut self.$field, reader)?;)+
                reader.align_ndr64(boundary)
            }

            fn decode_deferred(&mut self, reader: &mut $crate::ndr::NdrReader<'_>) -> Result<(), $crate::ndr::NdrError> {
                $($crate::ndr::Ndr::decode_deferred(&mut self.$field, reader)?;)+
                Ok(())
            }
        }
    )*};
}

/// Declares the parameters of one direction of operations, in the order of the wire; the return value is the last one.
///
/// A field that is an `Option` is a unique pointer (or the target of a reference to one), a `String` a reference to a
/// string: at this level a target follows its pointer at once.
#[macro_export]
macro_rules! ndr_parameters {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $kind:ty),+ $(,)?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $kind,)+
        }

        impl $crate::ndr::Parameters for $name {
            fn to_stub(&self, syntax: $crate::TransferSyntax) -> Vec<u8> {
                let mut out = $crate::ndr::NdrWriter::new(syntax);
                $(
                    $crate::ndr::Ndr::encode(&self.$field, &mut out);
                    $crate::ndr::Ndr::encode_deferred(&self.$field, &mut out);
                )+
                out.finish()
            }

            fn from_stub(stub: &[u8], syntax: $crate::TransferSyntax) -> Result<Self, $crate::ndr::NdrError> {
                let mut reader = $crate::ndr::NdrReader::new(stub, syntax);
                let mut parameters = Self::default();
                $(
                    $crate::ndr::Ndr::decode(&mut parameters.$field, &mut reader)?;
                    $crate::ndr::Ndr::decode_deferred(&mut parameters.$field, &mut reader)?;
                )+
                Ok(parameters)
            }
        }
    )*};
}

/// Declares non-encapsulated unions with a 32-bit tag. Each gets one more variant, `Unknown(tag)`: a tag without an arm.
/// With `default: true` such a tag travels without anything behind it; with `default: false` reading one is refused.
#[macro_export]
macro_rules! ndr_unions {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident(default: $has_default:literal) {
            $($(#[$arm_attribute:meta])* $tag:literal => $variant:ident($kind:ty)),+ $(,)?
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$arm_attribute])* $variant($kind),)+
            /// A tag without an arm.
            Unknown(u32),
        }

        impl $name {
            /// The tag of its arm.
            $visibility fn tag(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $tag,)+
                    Self::Unknown(tag) => *tag,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Unknown(0)
            }
        }

        impl $crate::ndr::Ndr for $name {
            const BYTES_MIN: usize = 4;

            fn alignment(syntax: $crate::TransferSyntax) -> usize {
                let largest = 4;
                $(let largest = largest.max(<$kind as $crate::ndr::Ndr>::alignment(syntax));)+
                largest
            }

            // MS-RPCE 2.2.5: in NDR64 tag and arm both stand at the boundary of the largest arm.
            fn encode(&self, out: &mut $crate::ndr::NdrWriter) {
                let boundary = <Self as $crate::ndr::Ndr>::alignment(out.syntax());
                out.align_ndr64(boundary);
                out.u32(self.tag());
                out.align_ndr64(boundary);
                match self {
                    $(Self::$variant(arm) => $crate::ndr::Ndr::encode(arm, out),)+
                    Self::Unknown(_) => {}
                }
            }

            fn encode_deferred(&self, out: &mut $crate::ndr::NdrWriter) {
                match self {
                    $(Self::$variant(arm) => $crate::ndr::Ndr::encode_deferred(arm, out),)+
                    Self::Unknown(_) => {}
                }
            }

            fn decode(&mut self, reader: &mut $crate::ndr::NdrReader<'_>) -> Result<(), $crate::ndr::NdrError> {
                let boundary = <Self as $crate::ndr::Ndr>::alignment(reader.syntax());
                reader.align_ndr64(boundary)?;
                let tag = reader.u32()?;
                reader.align_ndr64(boundary)?;
                *self = match tag {
                    $($tag => {
                        let mut arm = <$kind>::default();
                        $crate::ndr::Ndr::decode(&mut arm, reader)?;
                        Self::$variant(arm)
                    })+
                    unknown if $has_default => Self::Unknown(unknown),
                    _ => return Err($crate::ndr::NdrError::UNKNOWN_ARM),
                };
                Ok(())
            }

            fn decode_deferred(&mut self, reader: &mut $crate::ndr::NdrReader<'_>) -> Result<(), $crate::ndr::NdrError> {
                match self {
                    $(Self::$variant(arm) => $crate::ndr::Ndr::decode_deferred(arm, reader),)+
                    Self::Unknown(_) => Ok(()),
                }
            }
        }
    )*};
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::TransferSyntax;
    use crate::fault::Fault;
    use crate::ndr::{Counted, FixedWide, NdrError, Octets, Parameters};

    ndr_structures! {
        struct Inner {
            small: u8,
            name: Option<String>,
            wide: u64,
        }

        struct Outer {
            kind: u16,
            first: Option<Inner>,
            list: Counted<Inner>,
            raw: Option<Vec<u8>>,
            address: Octets<4, 4>,
            label: FixedWide<3>,
        }
    }

    ndr_unions! {
        enum Choice(default: false) {
            1 => Number(u32),
            2 => Text(Option<String>),
        }
    }

    ndr_parameters! {
        struct Everything {
            outer: Outer,
            text: String,
            choice: Choice,
            maybe: Option<Outer>,
            status: u32,
        }
    }

    fn inner(name: &str) -> Inner {
        Inner { small: 7, name: Some(name.to_owned()), wide: u64::MAX - 1 }
    }

    #[test]
    fn pointees_come_behind_the_outermost_structure_depth_first() {
        ndr_parameters! {
            struct Pair {
                list: Counted<Inner>,
                status: u32,
            }
        }
        let pair = Pair { list: vec![inner("a"), inner("b")].into(), status: 9 };
        let stub = pair.to_stub(TransferSyntax::Ndr20);
        // number, referent, count | two elements of u8, referent, u64 | two strings | status
        assert_eq!(stub.len(), 12 + 4 + 2 * 16 + 16 + 16 + 4);
        assert_eq!(stub[16], 7);
        assert_eq!(stub[20..24], [4, 0, 2, 0]);
        assert_eq!(stub[48..52], [2, 0, 0, 0]);
        assert_eq!(stub[60..64], [b'a', 0, 0, 0]);
        let wide = pair.to_stub(TransferSyntax::Ndr64);
        // number, pad, referent, count | u8, pad, referent, u64 twice | 3 × 8 + 4 twice, the first padded to 8
        assert_eq!(wide.len(), 24 + 2 * 24 + 32 + 28 + 4);
        for (syntax, stub) in [(TransferSyntax::Ndr20, stub), (TransferSyntax::Ndr64, wide)] {
            assert_eq!(Pair::from_stub(&stub, syntax), Ok(pair.clone()));
        }
    }

    #[test]
    fn a_tag_without_an_arm_is_its_own_fault() {
        ndr_parameters! {
            struct Chosen {
                choice: Choice,
            }
        }
        let stub = 9u32.to_le_bytes();
        assert_eq!(Chosen::from_stub(&stub, TransferSyntax::Ndr20).map_err(Fault::from), Err(Fault::INVALID_TAG));
        assert_eq!(Chosen::from_stub(&stub[..3], TransferSyntax::Ndr20).map_err(Fault::from), Err(Fault::BAD_STUB_DATA));
        let number = Chosen { choice: Choice::Number(5) };
        assert_eq!(number.to_stub(TransferSyntax::Ndr20), [1, 0, 0, 0, 5, 0, 0, 0]);
        // The largest arm is a pointer: the number stands at its boundary.
        assert_eq!(number.to_stub(TransferSyntax::Ndr64), [1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    }

    #[test]
    fn a_number_that_is_not_the_count_is_refused() {
        ndr_parameters! {
            struct Bytes {
                list: Counted<u8>,
            }
        }
        let stub = [2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5];
        assert_eq!(Bytes::from_stub(&stub, TransferSyntax::Ndr20), Err(NdrError("number of elements is not their count")));
        assert_eq!(Bytes::from_stub(&[0; 8], TransferSyntax::Ndr20), Ok(Bytes { list: Counted::null() }));
    }

    fn text() -> impl Strategy<Value = String> {
        "[^\0]{0,9}"
    }

    fn any_inner() -> impl Strategy<Value = Inner> {
        (any::<u8>(), proptest::option::of(text()), any::<u64>()).prop_map(|(small, name, wide)| Inner { small, name, wide })
    }

    fn any_outer() -> impl Strategy<Value = Outer> {
        let list = proptest::collection::vec(any_inner(), 0..4);
        let raw = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9));
        (any::<u16>(), proptest::option::of(any_inner()), list, raw, any::<[u8; 4]>(), "[a-z]{0,2}").prop_map(
            |(kind, first, list, raw, address, label)| Outer {
                kind,
                first,
                list: list.into(),
                raw,
                address: Octets(address),
                label: FixedWide(label),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_alike_in_both_syntaxes(
            outer in any_outer(), text in text(), number in proptest::option::of(any::<u32>()), maybe in proptest::option::of(any_outer()), status in any::<u32>(),
        ) {
            let choice = number.map_or_else(|| Choice::Text(Some(text.clone())), Choice::Number);
            let everything = Everything { outer, text, choice, maybe, status };
            for syntax in TransferSyntax::ALL {
                let stub = everything.to_stub(syntax);
                prop_assert_eq!(Everything::from_stub(&stub, syntax), Ok(everything.clone()));
                // A stub that was cut is refused wherever it was cut.
                for length in (0..stub.len()).step_by(3) {
                    prop_assert!(Everything::from_stub(&stub[..length], syntax).is_err());
                }
            }
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(stub in proptest::collection::vec(any::<u8>(), 0..120)) {
            for syntax in TransferSyntax::ALL {
                _ = Everything::from_stub(&stub, syntax);
            }
        }
    }
}
