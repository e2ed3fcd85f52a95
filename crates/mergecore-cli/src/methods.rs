//! `mergecore methods` and `mergecore schema`.

use mergecore::kernel::{DefaultValue, Parameter};
use mergecore::{Method, builtin_methods, nearest};

use crate::args::MethodsArgs;
use crate::table::table;
use crate::{Failure, USAGE, print};

pub(crate) fn run(args: &MethodsArgs) -> Result<(), Failure> {
    let registry = builtin_methods();
    let text = match &args.name {
        None if args.markdown => registry.to_markdown(),
        None => {
            let row = |method: &dyn Method| [method.name(), method.summary()].map(str::to_owned);
            let rows: Vec<[String; 2]> = registry.methods().map(row).collect();
            format!("{}\n`mergecore methods NAME` describes one.\n", table(&rows))
        }
        Some(name) => match registry.get(name) {
            Some(method) => page(&**method),
            None => {
                let near = nearest(name, registry.names());
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`mergecore methods` lists them".to_owned(),
                };
                return Err(Failure::new(format!("there is no method `{name}`; {hint}"), USAGE));
            }
        },
    };
    Ok(print::result(text)?)
}

pub(crate) fn schema() -> Result<(), Failure> {
    Ok(print::result(format_args!("{:#}\n", builtin_methods().recipe_schema()))?)
}

/// One page about a method.
fn page(method: &dyn Method) -> String {
    let mut facts = vec![["inputs".to_owned(), method.inputs().to_string()]];
    facts.extend(method.source().map(|source| ["source".to_owned(), source.to_owned()]));
    let mut text = format!("{} ({})\n\n{}.\n\n", method.name(), method.title(), method.summary());
    text += &table(&facts);
    if method.parameters().is_empty() {
        return text + "\nIt has no parameters.\n";
    }
    text += "\nparameters:\n";
    let row = |parameter: &Parameter| {
        [
            parameter.name.to_owned(),
            parameter.scope.to_string(),
            match parameter.default {
                DefaultValue::Required => DefaultValue::Required.to_string(),
                default => format!("default {default}"),
            },
            parameter.kind.to_string(),
            parameter.help.to_owned(),
        ]
    };
    let rows: Vec<[String; 5]> = method.parameters().iter().map(row).collect();
    text + &table(&rows)
}
