//! From a function to a constant of type `Task` and an entry in the registry.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Error, FnArg, ItemFn, LitInt, Result, ReturnType, Type};

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
    let types: Vec<&Type> = function
        .sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(&*typed.ty),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let names: Vec<_> = (0..types.len()).map(|n| format_ident!("arg{n}")).collect();
    let (argument, pattern) = match (&types[..], &names[..]) {
        ([ty], [name]) => (quote!(#ty), quote!(#name)),
        _ => (quote!((#(#types,)*)), quote!((#(#names,)*))),
    };
    let argument = if types.is_empty() { quote!(()) } else { argument };
    let pattern = if types.is_empty() { quote!(()) } else { pattern };
    let pointer = quote!(fn(#(#types),*) -> #output);

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
        #vis const #name: ::skep::Task<#argument, #output, #pointer> = {
            #(#for_body)*
            #sig #block

            const ENTRY: ::skep::__private::TaskEntry = ::skep::__private::TaskEntry::new(
                ::core::concat!(::core::module_path!(), "::", #text),
                #signature,
                ::core::concat!(::core::file!(), ":", ::core::line!()),
                #retries,
                |call| ::skep::__private::run(call, |#pattern: #argument| #name(#(#names),*)),
            );
            ::skep::__private::inventory::submit! { ENTRY }
            ::skep::__private::new_task(&ENTRY, #name as #pointer)
        };
    })
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
        match input {
            FnArg::Receiver(this) => return refuse(this.span(), "take self: use a free function"),
            FnArg::Typed(typed) => check_type(&typed.ty)?,
        }
    }
    match &sig.output {
        ReturnType::Default => Ok(()),
        ReturnType::Type(_, ty) => check_type(ty),
    }
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
            ("fn f(t: impl Sized) {}", "impl Trait"),
            ("fn f() -> Option<impl Sized> { Some(1) }", "impl Trait"),
            ("struct S;", "function"),
        ] {
            let refusal = refusal("", function);
            assert!(refusal.contains(reason), "{function}: {refusal}");
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
