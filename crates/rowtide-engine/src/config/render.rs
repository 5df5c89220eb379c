//! What is written from the table of options: example file, reference page, JSON Schema, and the
//! effective configuration.

use std::fmt::Write as _;

use rowtide_core::ValuePolicy;
use serde_json::{Map, Value as Json, json};

use super::document::Node;
use super::options::{
    COPY, ConnectorSpec, Connectors, ENDPOINT, Kind, METRICS, OptionSpec, RETRY, RUN, STREAM,
    Section, TABLE, TABLES, TOP, VERIFY, VERSION,
};
use super::problems::Origin;
use super::{Configuration, Value};

/// A commented configuration file with every option. `urls` are those of source and destination.
pub fn example(connectors: Connectors, (from, to): (&str, &str), pipeline: Option<&str>) -> String {
    let mut out = String::from(
        "# Rowtide: what is replicated, from where, to where.\n\
         # An option behind `#` shows its default, or an example where there is none.\n\
         # Any text may hold ${env:NAME} or ${file:PATH}.\n\n",
    );
    let _ = writeln!(out, "version = {VERSION}\n");
    for option in TOP.options.iter().filter(|option| option.key != "version") {
        match pipeline {
            Some(name) if option.key == "pipeline" => {
                comment(&mut out, option.about);
                let _ = writeln!(out, "pipeline = {}\n", quoted(name));
            }
            _ => commented_option(&mut out, option),
        }
    }
    for (name, url, specs) in
        [("source", from, connectors.sources), ("destination", to, connectors.destinations)]
    {
        let _ = writeln!(out, "[{name}]");
        let _ = writeln!(out, "url = {}\n", quoted(url));
        let scheme = url.split(':').next().unwrap_or_default();
        if let Some(spec) = specs.iter().find(|spec| spec.schemes.contains(&scheme)) {
            for option in spec.options {
                commented_option(&mut out, option);
            }
        }
    }
    let _ = writeln!(out, "# {}", wrap(TABLES.about, "# "));
    let _ = writeln!(out, "[tables]");
    for option in TABLES.options {
        let default = option.default.unwrap_or(option.example);
        let _ = writeln!(out, "{} = {default}", option.key);
    }
    let _ = writeln!(out, "\n# {}", wrap(TABLE.about, "# "));
    let _ = writeln!(out, "#[[table]]");
    for option in TABLE.options {
        commented_option(&mut out, option);
    }
    for section in [RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        let _ = writeln!(out, "# {}", wrap(section.about, "# "));
        let _ = writeln!(out, "[{}]", section.name);
        for option in section.options {
            commented_option(&mut out, option);
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn commented_option(out: &mut String, option: &OptionSpec) {
    comment(out, option.about);
    let _ = writeln!(out, "#{} = {}\n", option.key, option.default.unwrap_or(option.example));
}

fn comment(out: &mut String, text: &str) {
    let _ = writeln!(out, "# {}", wrap(text, "# "));
}

/// Breaks `text` into lines of at most 90 columns, each but the first behind `prefix`.
fn wrap(text: &str, prefix: &str) -> String {
    let mut out = String::new();
    let mut column = prefix.len();
    for word in text.split_whitespace() {
        if column > prefix.len() && column + word.len() + 1 > 90 {
            out.push('\n');
            out.push_str(prefix);
            column = prefix.len();
        } else if column > prefix.len() {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

/// The reference page in Markdown.
pub fn reference(connectors: Connectors) -> String {
    let mut out = String::from(REFERENCE_HEAD);
    reference_section(&mut out, &TOP, "Top of the file");
    for (name, specs) in super::read::all_connectors(connectors) {
        let which = if name == "source" { "Where changes come from." } else { "Where they go." };
        let _ = writeln!(out, "## `[{name}]`\n\n{which}\n");
        options_table(&mut out, ENDPOINT);
        for spec in specs {
            let _ = writeln!(out, "### `{}` as the {name}\n\n{}\n", spec.kind, spec.about);
            let _ = writeln!(out, "URL: `{}`\n", spec.url);
            options_table(&mut out, spec.options);
        }
    }
    for section in [TABLES, TABLE, RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        let brackets = match section.repeated {
            true => format!("`[[{}]]`", section.name),
            false => format!("`[{}]`", section.name),
        };
        reference_section(&mut out, &section, &brackets);
    }
    out.push_str("## A complete file\n\n```toml\n");
    let urls = (
        connectors.sources.first().map_or("", |spec| spec.url),
        connectors.destinations.first().map_or("", |spec| spec.url),
    );
    out.push_str(&example(connectors, urls, None));
    out.push_str("```\n");
    out
}

const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Printed by `rowtide config reference`; change the table of options in the code instead. -->

One TOML file tells a pipeline everything; for the simple case flags are enough and no file is
needed. `rowtide init` writes a commented file, `rowtide config show` prints what is in effect and
where each value came from, and `rowtide config schema` prints a JSON Schema for editors.

- Unknown options are refused, and all problems are reported at once, each with its place.
- Texts may hold `${env:NAME}` and `${file:PATH}` (relative to the file). They are replaced after
  the file was parsed, in values only. This is the way to keep secrets out of it.
- Durations are written `\"500ms\"`, `\"10s\"`, `\"1m 30s\"`, `\"2h\"`; sizes `\"64KiB\"`, `\"16MiB\"`, `\"1GiB\"`.
- Flags win over the file: `--from`, `--to`, `--tables`, `--mode`, `--once`, `--rule`, and
  `--set SECTION.OPTION=VALUE` for everything else.

";

fn reference_section(out: &mut String, section: &Section, title: &str) {
    let _ = writeln!(out, "## {title}\n\n{}\n", wrap(section.about, ""));
    options_table(out, section.options);
}

fn options_table(out: &mut String, options: &[OptionSpec]) {
    if options.is_empty() {
        return;
    }
    out.push_str("| option | takes | default | what it does |\n|---|---|---|---|\n");
    for option in options {
        let default = match (option.required, option.default) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => format!("`{default}`"),
            (false, None) => "–".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} |",
            option.key,
            option.kind.describe(),
            option.about
        );
    }
    out.push('\n');
}

/// A JSON Schema (2020-12) of the file, for editors.
pub fn json_schema(connectors: Connectors) -> Json {
    let mut properties = properties_of(TOP.options);
    for (name, specs) in super::read::all_connectors(connectors) {
        properties.insert(name.into(), endpoint_schema(specs));
    }
    for section in [TABLES, TABLE, RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        let mut schema = object(section.options);
        if section.repeated {
            schema = json!({ "type": "array", "items": schema });
        }
        schema["description"] = Json::from(section.about);
        properties.insert(section.name.into(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rowtide configuration",
        "type": "object",
        "properties": properties,
        "required": ["version"],
        "additionalProperties": false,
    })
}

fn endpoint_schema(specs: &[ConnectorSpec]) -> Json {
    let mut properties = properties_of(ENDPOINT);
    for spec in specs {
        properties.append(&mut properties_of(spec.options));
    }
    let kinds: Vec<_> = specs.iter().map(|spec| spec.kind).collect();
    if let Some(kind) = properties.get_mut("type") {
        kind["enum"] = json!(kinds);
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn object(options: &[OptionSpec]) -> Json {
    let required: Vec<_> = options.iter().filter(|o| o.required).map(|o| o.key).collect();
    json!({
        "type": "object",
        "properties": properties_of(options),
        "required": required,
        "additionalProperties": false,
    })
}

fn properties_of(options: &[OptionSpec]) -> Map<String, Json> {
    let schema = |option: &OptionSpec| {
        let mut schema = kind_schema(option.kind);
        schema["description"] = Json::from(option.about);
        if let Some(default) = option.default.and_then(literal) {
            schema["default"] = default;
        }
        schema
    };
    let pairs = options.iter().map(|option| (option.key.to_owned(), schema(option)));
    pairs.collect()
}

fn kind_schema(kind: Kind) -> Json {
    match kind {
        Kind::Text | Kind::Path => json!({ "type": "string" }),
        Kind::Duration => {
            json!({ "type": "string", "pattern": r"^(\s*[0-9.]+(ms|s|m|min|h|d))+\s*$" })
        }
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer(low, i64::MAX) => json!({ "type": "integer", "minimum": low }),
        Kind::Integer(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Size(least) => json!({
            "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": least }]
        }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Patterns => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Metadata => json!({ "type": ["boolean", "object"] }),
        Kind::Policies => json!({
            "type": "object", "additionalProperties": { "enum": ValuePolicy::WORDS }
        }),
        Kind::TextMap => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
    }
}

/// A default as JSON.
fn literal(text: &str) -> Option<Json> {
    let table: toml::Table = toml::from_str(&format!("v = {text}")).ok()?;
    serde_json::to_value(table.get("v")?).ok()
}

/// The effective configuration as TOML with the origin of every value behind it.
pub(crate) fn show(root: &Node, configuration: &Configuration, connectors: Connectors) -> String {
    let mut out = format!("version = {VERSION}\n");
    let origin = root.at("pipeline").map_or("default".to_owned(), |n| n.origin.to_string());
    let _ = writeln!(out, "pipeline = {}  # {origin}", quoted(&configuration.pipeline));
    let ends = [&configuration.source, &configuration.destination];
    for ((name, specs), end) in super::read::all_connectors(connectors).into_iter().zip(ends) {
        let Some(spec) = specs.iter().find(|spec| spec.kind == end.kind) else {
            continue;
        };
        let _ = writeln!(out, "\n[{name}]");
        let kind_origin = match root.at(name).and_then(|node| node.at("type")) {
            Some(node) => node.origin.to_string(),
            None => "from the URL".to_owned(),
        };
        let _ = writeln!(out, "type = {}  # {kind_origin}", quoted(end.kind));
        let options = ENDPOINT.iter().filter(|option| option.key != "type");
        show_options(&mut out, root.at(name), options.chain(spec.options));
    }
    for section in [TABLES, RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        let _ = writeln!(out, "\n[{}]", section.name);
        show_options(&mut out, root.at(section.name), section.options.iter());
    }
    for rule in root.at(TABLE.name).map(Node::items).unwrap_or_default() {
        let _ = writeln!(out, "\n[[table]]");
        let given = TABLE.options.iter().filter(|option| rule.at(option.key).is_some());
        show_options(&mut out, Some(rule), given);
    }
    out
}

fn show_options<'a>(
    out: &mut String,
    section: Option<&Node>,
    options: impl Iterator<Item = &'a OptionSpec>,
) {
    for option in options {
        match (section.and_then(|section| section.at(option.key)), option.default) {
            (Some(node), _) => {
                let value = match option.key {
                    "url" => quoted(&redacted_url(node.text().unwrap_or_default())),
                    _ if option.secret => quoted("<redacted>"),
                    _ => shown_value(node),
                };
                let _ = writeln!(out, "{} = {value}  # {}", option.key, node.origin);
            }
            (None, Some(default)) => {
                let _ = writeln!(out, "{} = {default}  # {}", option.key, Origin::Default);
            }
            (None, None) => {}
        }
    }
}

fn shown_value(node: &Node) -> String {
    match &node.value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) => {
            let entries = entries.iter();
            let entries: Vec<_> = entries
                .map(|(key, node)| format!("{} = {}", bare(key), shown_value(node)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        _ => node.to_toml().map_or_else(String::new, |value| value.to_string()),
    }
}

fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !key.is_empty() && key.chars().all(plain) {
        true => key.to_owned(),
        false => quoted(key),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A URL without its password, wherever the password stands in it.
pub fn redacted_url(url: &str) -> String {
    const HIDDEN: &str = "***";
    let mut url = url.to_owned();
    if let Some(start) = url.find("://").map(|at| at + 3) {
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
        // A password may itself hold an `@` or a `/` that should have been escaped.
        let at = url[start..end].rfind('@').map(|at| start + at);
        let at = at.or_else(|| url[start..].rfind('@').map(|at| start + at));
        if let Some(at) = at
            && let Some(colon) = url[start..at].find(':')
        {
            url.replace_range(start + colon + 1..at, HIDDEN);
        }
    }
    let Some((before, query)) = url.split_once('?') else {
        return url;
    };
    let query = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_secret_key(key) => format!("{key}={HIDDEN}"),
        _ => pair.to_owned(),
    });
    format!("{before}?{}", query.collect::<Vec<_>>().join("&"))
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "passphrase"].iter().any(|word| key.contains(word))
}
