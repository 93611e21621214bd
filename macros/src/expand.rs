//! From a function to a constant of type `Task` and an entry in the registry.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, LitInt, Result, ReturnType, Type, TypeReference};

/// How often a task declared with plain `retry` may be run again.
const DEFAULT_RETRIES: u8 = 3;

pub(crate) fn task(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let retries = retries(options)?;
    let function: ItemFn = syn::parse2(function)
        .map_err(|e| Error::new(e.span(), "#[skep::task] belongs on a function with a body"))?;
    check(&function)?;

    let name = &function.sig.ident;
    let vis = &function.vis;
    let output = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    };
    let types = types(&function);
    let Form { task, pointer, run } = form(name, &types, &output);

    // The function keeps what tells the compiler how to treat its body; readers look at the constant.
    let (for_readers, for_body): (Vec<&Attribute>, Vec<&Attribute>) =
        function.attrs.iter().partition(|a| a.path().is_ident("doc") || a.path().is_ident("deprecated"));
    let conditions: Vec<&Attribute> = function.attrs.iter().filter(|a| a.path().is_ident("cfg")).collect();
    let (sig, block) = (&function.sig, &function.block);
    let signature = sig.to_token_stream().to_string();
    let text = name.to_string();

    Ok(quote! {
        #(#for_readers)*
        #(#conditions)*
        #[allow(non_upper_case_globals)]
        #vis const #name: #task = {
            #(#for_body)*
            #sig #block

            const ENTRY: ::skep::__private::TaskEntry = ::skep::__private::TaskEntry::new(
                ::core::concat!(::core::module_path!(), "::", #text),
                #signature,
                ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
                #retries,
                |call| #run,
            );
            ::skep::__private::inventory::submit! { ENTRY }
            ::skep::__private::new_task(&ENTRY, #name as #pointer)
        };
    })
}

/// What a task's parameters make of it.
struct Form {
    /// The constant's type.
    task: TokenStream,
    /// The function's.
    pointer: TokenStream,
    /// What its worker does with a `call`.
    run: TokenStream,
}

fn form(name: &Ident, types: &[&Type], output: &TokenStream) -> Form {
    let pointer = quote!(fn(#(#types),*) -> #output);
    if let Some(Slices { read, written }) = slices(types) {
        let (task, run) = match written {
            None => (quote!(SliceTask<#read, #output>), quote!(run_slice)),
            Some(written) => (quote!(SliceMapTask<#read, #written>), quote!(run_slice_into)),
        };
        let run = quote!(::skep::__private::#run(call, #name as #pointer));
        return Form { task: quote!(::skep::#task), pointer, run };
    }
    let names: Vec<_> = (0..types.len()).map(|n| format_ident!("arg{n}")).collect();
    let (argument, pattern) = match (types, &names[..]) {
        ([], []) => (quote!(()), quote!(())),
        ([ty], [name]) => (quote!(#ty), quote!(#name)),
        _ => (quote!((#(#types,)*)), quote!((#(#names,)*))),
    };
    // With the name's place, so that the compiler shows it where a type cannot travel.
    let run = quote_spanned!(name.span()=> ::skep::__private::run);
    let run = quote!(#run(call, |#pattern: #argument| #name(#(#names),*)));
    Form { task: quote!(::skep::Task<#argument, #output, #pointer>), pointer, run }
}

/// The items of the slices that a task takes.
struct Slices<'a> {
    read: &'a Type,
    written: Option<&'a Type>,
}

/// Whether these are the parameters of a task on slices: `&[A]`, or `&[A], &mut [B]`.
fn slices<'a>(types: &[&'a Type]) -> Option<Slices<'a>> {
    let of = |ty: &'a Type, is_mut| match ty {
        Type::Reference(TypeReference { lifetime: None, mutability, elem, .. })
            if mutability.is_some() == is_mut =>
        {
            match &**elem {
                Type::Slice(slice) => Some(&*slice.elem),
                _ => None,
            }
        }
        _ => None,
    };
    match types {
        [read] => Some(Slices { read: of(read, false)?, written: None }),
        [read, written] => Some(Slices { read: of(read, false)?, written: Some(of(written, true)?) }),
        _ => None,
    }
}

/// The options between the attribute's parentheses.
fn retries(options: TokenStream) -> Result<u8> {
    let mut retries = 0;
    syn::meta::parser(|meta| {
        if !meta.path.is_ident("retry") {
            return Err(meta.error("unknown option: `retry` and `retry = <number>` are possible"));
        }
        retries = match meta.value() {
            Ok(value) => value.parse::<LitInt>()?.base10_parse()?,
            Err(_) => DEFAULT_RETRIES,
        };
        Ok(())
    })
    .parse2(options)?;
    Ok(retries)
}

/// Refuses what cannot be sent to, or named in, another process.
fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    let refuse = |span, why: &str| Err(Error::new(span, format!("a task cannot {why}")));
    if let Some(word) = &sig.asyncness {
        return refuse(word.span(), "be async: a worker runs one task at a time, from start to end");
    }
    if let Some(word) = &sig.unsafety {
        return refuse(word.span(), "be unsafe: wrap it in a safe function that upholds its contract");
    }
    if let Some(abi) = &sig.abi {
        return refuse(abi.span(), "be extern: wrap it in a Rust function");
    }
    if let Some(variadic) = &sig.variadic {
        return refuse(variadic.span(), "be variadic");
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return refuse(sig.generics.span(), "be generic: mark a function for each concrete type");
    }
    for input in &sig.inputs {
        if let FnArg::Receiver(this) = input {
            return refuse(this.span(), "take self: use a free function");
        }
    }
    let types = types(function);
    let returns = match &sig.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(&**ty),
    };
    let types = match slices(&types) {
        None => types,
        Some(Slices { read, written: None }) => vec![read],
        Some(Slices { read, written: Some(written) }) => {
            if let Some(ty) = returns.filter(|ty| !matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty()))
            {
                return refuse(
                    ty.span(),
                    "return a value beside the slice that it writes: there would be one for each chunk",
                );
            }
            vec![read, written]
        }
    };
    types.into_iter().chain(returns).try_for_each(check_type)
}

/// The types of a function's parameters.
fn types(function: &ItemFn) -> Vec<&Type> {
    let types = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(&*typed.ty),
        FnArg::Receiver(_) => None,
    });
    types.collect()
}

fn check_type(ty: &Type) -> Result<()> {
    struct Finder(Option<Error>);
    impl<'ast> Visit<'ast> for Finder {
        fn visit_type(&mut self, ty: &'ast Type) {
            let why = match ty {
                Type::Reference(_) => {
                    "borrow: arguments and results go to another process, so take and return owned values \
                                       (String for &str, Vec<T> for &[T])"
                }
                Type::ImplTrait(_) => "use impl Trait: name the type",
                _ => return syn::visit::visit_type(self, ty),
            };
            self.0.get_or_insert(Error::new(ty.span(), format!("a task cannot {why}")));
        }
    }
    let mut finder = Finder(None);
    finder.visit_type(ty);
    finder.0.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: &str, function: &str) -> String {
        match task(options.parse().expect("tokens"), function.parse().expect("tokens")) {
            Ok(code) => panic!("{function} was taken: {code}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_be_a_task_is_refused_with_the_reason() {
        for (function, reason) in [
            ("async fn f() {}", "async"),
            ("unsafe fn f() {}", "unsafe"),
            ("extern \"C\" fn f() {}", "extern"),
            ("fn f<T>(t: T) {}", "generic"),
            ("fn f<const N: usize>() {}", "generic"),
            ("fn f(&self) {}", "self"),
            ("fn f(text: &str) {}", "borrow"),
            ("fn f(texts: Vec<&'static str>) {}", "borrow"),
            ("fn f() -> &'static str { \"\" }", "borrow"),
            ("fn f(text: &[&str]) {}", "borrow"),
            ("fn f(numbers: &'static [u8]) {}", "borrow"),
            ("fn f(numbers: &mut [u8]) {}", "borrow"),
            ("fn f(numbers: &[u8; 4]) {}", "borrow"),
            ("fn f(numbers: &[u8], more: &[u8]) {}", "borrow"),
            ("fn f(numbers: &[u8], factor: u8) {}", "borrow"),
            ("fn f(from: &[u8], to: &mut [u8], factor: u8) {}", "borrow"),
            ("fn f(numbers: &[u8]) -> &[u8] { numbers }", "borrow"),
            ("fn f(from: &[u8], to: &mut [u8]) -> u8 { 1 }", "each chunk"),
            ("fn f(t: impl Sized) {}", "impl Trait"),
            ("fn f() -> Option<impl Sized> { Some(1) }", "impl Trait"),
            ("struct S;", "function"),
        ] {
            let refusal = refusal("", function);
            assert!(refusal.contains(reason), "{function}: {refusal}");
        }
    }

    #[test]
    fn slices_make_tasks_on_slices() {
        for (function, kind) in [
            ("fn f(numbers: &[f64]) -> f64 { 0.0 }", "SliceTask < f64 , f64 >"),
            ("fn f(numbers: &[f64]) {}", "SliceTask < f64 , () >"),
            ("fn f(from: &[[u8; 2]], to: &mut [u16]) {}", "SliceMapTask < [u8 ; 2] , u16 >"),
            ("fn f(from: &[u8], to: &mut [u8]) -> () {}", "SliceMapTask < u8 , u8 >"),
            ("fn f(numbers: Vec<f64>) -> f64 { 0.0 }", ":: skep :: Task <"),
        ] {
            let code = task(TokenStream::new(), function.parse().expect("tokens"))
                .expect("it is a task")
                .to_string();
            assert!(code.contains(kind), "{function}: {code}");
        }
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        assert!(refusal("again", "fn f() {}").contains("unknown option"));
        refusal("retry = 1000", "fn f() {}");
        refusal("retry = \"three\"", "fn f() {}");
    }

    #[test]
    fn retries_are_none_three_or_as_said() {
        for (options, expected) in [("", 0), ("retry", 3), ("retry = 9", 9)] {
            assert_eq!(retries(options.parse().expect("tokens")).expect("valid"), expected);
        }
    }
}
