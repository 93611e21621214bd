//! The `#[skep::task]` attribute. Use it through the crate `skep`; the code it writes names `::skep`.

use proc_macro::TokenStream;

mod expand;

/// Makes a function a task that the workers of a pool can run.
///
/// The function becomes a constant of type `skep::Task` of the same name, visibility and documentation. It can still be called
/// like the function, because it dereferences to it, and it can be handed to a pool: `pool.apply(area, 2.0)`. Since it is a
/// constant, no local variable can have the same name where it is in scope.
///
/// One parameter is the argument itself; several are passed as a tuple; none as `()`. Arguments and results must implement
/// serde's `Serialize` and `Deserialize`, and own what they hold: workers are other processes.
///
/// | argument or result | |
/// | --- | --- |
/// | whatever serde can write, with any of its attributes (`flatten`, `untagged`, `tag`, `skip_serializing_if` with `default`, `alias`, …) | arrives equal |
/// | rows of numbers (`Vec<u8>`, `Vec<f64>`, boxed slices) | the same, copied whole |
/// | handles of shared memory of the pool's arena | move |
/// | a field with `skip` or `skip_serializing`, and a default | arrives as the default, as its type declares |
/// | what its own `Deserialize` refuses (a field left out that has no default, a `u128` in a type without a tag) | that call's error: `ArgumentNotDecoded` or `ResultNotDecoded`, with the field's name |
/// | what is nested more than 256 levels deep; handles of another arena | that call's error: `ArgumentNotEncoded` or `ResultNotEncoded` |
/// | a handle that outlives its value, as behind an `Rc` | that call's error: `HandleKept` |
///
/// Two kinds of functions on slices, whose items are plain values (`skep::Pod`), make a `skep::SliceTask`
/// or a `skep::SliceMapTask` instead, for `pool.map_slice` and `pool.map_slice_into`:
/// `fn sum(values: &[f64]) -> f64` and `fn double(input: &[f64], output: &mut [f64])`.
///
/// `#[skep::task(retry)]` declares that the task may safely be run again if its worker dies, up to 3 more times;
/// `#[skep::task(retry = 10)]` sets how often.
///
/// Not possible, with a compile error that says so: `async`, `unsafe`, `extern`, variadic or generic functions, `self`, `impl Trait`,
/// and any other references.
#[proc_macro_attribute]
pub fn task(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::task(options.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
