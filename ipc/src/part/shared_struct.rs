//! Parts as the fields of a struct, which is a part again.

/// Declares a struct whose fields are [parts](crate::Part) that share one segment and one place among its participants.
///
/// The struct is a part itself. Its setup is a tuple of its fields' setups, in order.
///
/// ```
/// use skep_ipc::{Event, Part, shared_struct};
///
/// shared_struct! {
///     /// What the stages of a pipeline tell each other.
///     pub struct Stages {
///         pub parsed: Event,
///         pub stored: Event,
///     }
/// }
///
/// let here = Stages::anonymous(((), ()))?;
/// let there = here.try_clone()?; // in another process: `Stages::from_fd`, or `create` and `open`
/// there.parsed.set()?;
/// assert!(here.parsed.is_set() && !here.stored.is_set());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! shared_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $part:ty),+ $(,)? }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $part,)+
            /// Before it, the fields: each keeps it too.
            __seat: ::std::sync::Arc<$crate::Seat>,
        }

        // SAFETY: each field takes its values in order, and the item names all fields.
        unsafe impl $crate::Part for $name {
            type Setup = ($(<$part as $crate::Part>::Setup,)+);
            const KIND: $crate::Kind = $crate::Kind::new(*b"struct\0\0");

            fn item() -> $crate::Item {
                $crate::Item::of_struct(::std::stringify!($name), &[$((<$part as $crate::Part>::KIND, <$part as $crate::Part>::item()),)+])
            }

            fn bytes(peers: usize) -> usize {
                0 $(+ <$part as $crate::Part>::bytes(peers))+
            }

            fn init(place: &mut $crate::Place, ($($field,)+): Self::Setup) -> ::std::result::Result<(), $crate::Error> {
                $(<$part as $crate::Part>::init(place, $field)?;)+
                Ok(())
            }

            fn attach(
                place: &mut $crate::Place,
                seat: &::std::sync::Arc<$crate::Seat>,
            ) -> ::std::result::Result<Self, $crate::Error> {
                Ok($name { $($field: <$part as $crate::Part>::attach(place, seat)?,)+ __seat: seat.clone() })
            }

            fn mend(place: &mut $crate::Place, peer: usize) {
                $(<$part as $crate::Part>::mend(place, peer);)+
            }

            fn agree(&self, ($($field,)+): &Self::Setup) -> ::std::result::Result<(), $crate::Error> {
                $(<$part as $crate::Part>::agree(&self.$field, $field)?;)+
                Ok(())
            }

            fn seat(&self) -> &::std::sync::Arc<$crate::Seat> {
                &self.__seat
            }
        }

        impl ::std::os::fd::AsFd for $name {
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.__seat.as_fd()
            }
        }
    };
}
