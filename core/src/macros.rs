//! The short way to say what an entity or an event is: a name, and the field that identifies it.

/// Implements [`Entity`](crate::Entity) for a type whose id is one of its fields: the type, its kind, the field.
///
/// The field is text: a `String`, or another type with `AsRef<str>`. Where another field is its state in one word, that is
/// said as well: a text, or an `enum` that serde writes as one. An entity that expires, has a place in an index, or is
/// identified by more than a field implements the trait itself.
///
/// ```
/// use quadrille::Entity as _;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Pot {
///     day: String,
/// }
/// quadrille::entity!(Pot: "pot", by day);
///
/// #[derive(Serialize, Deserialize)]
/// enum State {
///     Clean,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Cup {
///     guest: String,
///     state: State,
/// }
/// quadrille::entity!(Cup: "cup", by guest, status: state);
///
/// assert_eq!(Pot { day: "monday".into() }.id(), "monday");
/// assert_eq!(Pot::KIND, "pot");
/// assert_eq!(Cup { guest: "anna".into(), state: State::Clean }.status().as_deref(), Some("Clean"));
/// ```
///
/// Anything else is refused with the form that is expected:
///
/// ```compile_fail
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Pot { day: String }
/// quadrille::entity!(Pot, "pot");
/// ```
#[macro_export]
macro_rules! entity {
    ($entity:ty: $kind:literal, by $field:ident $(, status: $status:ident)? $(,)?) => {
        impl $crate::Entity for $entity {
            const KIND: &'static str = $kind;

            fn id(&self) -> ::std::borrow::Cow<'_, str> {
                ::std::borrow::Cow::Borrowed(::core::convert::AsRef::<str>::as_ref(&self.$field))
            }

            $(fn status(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                $crate::in_one_word(&self.$status).map(::std::borrow::Cow::Owned)
            })?
        }
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "expected an entity's type, its kind, and the field that is its id: `entity!(Pot: \"pot\", by day);`"
        );
    };
}

/// Implements [`Event`](crate::Event) for a type: the type, its CloudEvents type, the entity it is told to, and the field
/// that holds the entity's id.
///
/// The field is text: a `String`, or another type with `AsRef<str>`. An event that is told to nobody says so instead. An
/// event whose subject is made of more than a field implements the trait itself.
///
/// ```
/// use quadrille::Event as _;
/// use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize)]
/// # struct Pot { day: String }
/// # quadrille::entity!(Pot: "pot", by day);
/// #[derive(Serialize, Deserialize)]
/// struct Steeped {
///     day: String,
/// }
/// quadrille::event!(Steeped: "tea.steeped", to Pot by day);
///
/// #[derive(Serialize, Deserialize)]
/// struct ShopOpened {}
/// quadrille::event!(ShopOpened: "shop.opened", to nobody);
///
/// assert_eq!(Steeped::TYPE, "tea.steeped");
/// assert_eq!(Steeped { day: "monday".into() }.subject(), "monday");
/// assert_eq!(ShopOpened {}.subject(), "");
/// ```
///
/// Anything else is refused with the form that is expected:
///
/// ```compile_fail
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Pot { day: String }
/// # quadrille::entity!(Pot: "pot", by day);
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Steeped { day: String }
/// quadrille::event!(Steeped: "tea.steeped", by day);
/// ```
#[macro_export]
macro_rules! event {
    ($event:ty: $type:literal, to nobody $(,)?) => {
        impl $crate::Event for $event {
            const TYPE: &'static str = $type;
            type Entity = ();

            fn subject(&self) -> ::std::borrow::Cow<'_, str> {
                ::std::borrow::Cow::Borrowed("")
            }
        }
    };
    ($event:ty: $type:literal, to $($entity:ident)::+ by $field:ident $(,)?) => {
        impl $crate::Event for $event {
            const TYPE: &'static str = $type;
            type Entity = $($entity)::+;

            fn subject(&self) -> ::std::borrow::Cow<'_, str> {
                ::std::borrow::Cow::Borrowed(::core::convert::AsRef::<str>::as_ref(&self.$field))
            }
        }
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "expected an event's type, its CloudEvents type, the entity it is told to and the field with that entity's id: \
             `event!(Steeped: \"tea.steeped\", to Pot by day);`, or `event!(ShopOpened: \"shop.opened\", to nobody);`"
        );
    };
}
