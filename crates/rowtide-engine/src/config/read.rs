//! From a checked document to settings.

use std::collections::BTreeMap;

use rowtide_core::{
    MetadataColumns, Mode, Pattern, Secret, TableName, TableSelection, ValuePolicy,
};

use super::check;
use super::document::{Node, Value};
use super::options::{
    COPY, ConnectorSpec, ENDPOINT, METRICS, OptionSpec, RETRY, RUN, STREAM, TABLE, TABLES, TOP,
    VERIFY,
};
use super::problems::{Origin, Problems};
use super::values::parse_duration;
use super::{Connectors, Endpoint};
use crate::{MetricsSettings, RunMode, Schedule, Settings, TableRule};

/// Compares the whole document with the table of options.
pub(crate) fn check_document(root: &Node, problems: &mut Problems) {
    let subsections = [
        "source",
        "destination",
        "tables",
        "table",
        "run",
        "copy",
        "stream",
        "retry",
        "verify",
        "metrics",
    ];
    check::section(root, "", (TOP.options, &subsections), problems);
    for fixed in [TABLES, RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        if let Some(node) = root.at(fixed.name) {
            check::section(node, fixed.name, (fixed.options, &[]), problems);
        }
    }
    let Some(rules) = root.at(TABLE.name) else {
        return;
    };
    if !matches!(rules.value, Value::Array(_)) {
        let message = format!("expected [[table]] rules, found {}", rules.value.kind());
        problems.add_with_hint(
            TABLE.name,
            &rules.origin,
            (message, "write it in double brackets: [[table]]".into()),
        );
    }
    for (index, rule) in rules.items().iter().enumerate() {
        check::section(rule, &format!("table[{index}]"), (TABLE.options, &[]), problems);
    }
}

/// Everything but the two ends. Values of the wrong type were reported already and are skipped.
pub(crate) fn settings(root: &Node, problems: &mut Problems) -> Settings {
    let mut settings = Settings::new(selection(root, problems));
    for section in [RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        let Some(node) = root.at(section.name) else {
            continue;
        };
        for (key, value) in node.entries() {
            apply(&mut settings, (section.name, key.as_str()), value);
        }
    }
    if settings.retry_initial > settings.retry_max {
        let origin = root.at("retry.initial").map_or(Origin::Default, |n| n.origin.clone());
        problems.add("retry.initial", &origin, "is longer than retry.max");
    }
    if let Some(node) = root.at("verify.schedule")
        && let Some(Err(error)) = node.text().map(str::parse::<Schedule>)
    {
        problems.add_error("verify.schedule", &node.origin, &error);
    }
    metrics(root, &settings, problems);
    let rules = root.at(TABLE.name).map(Node::items).unwrap_or_default();
    for (index, node) in rules.iter().enumerate() {
        settings.rules.extend(rule(node, &format!("table[{index}]"), problems));
    }
    settings
}

/// Refuses to serve metrics to whoever can reach them.
fn metrics(root: &Node, settings: &Settings, problems: &mut Problems) {
    let MetricsSettings { listen, token } = &settings.metrics;
    let origin = |path: &str| root.at(path).map_or(Origin::Default, |node| node.origin.clone());
    let given = root.at("metrics.listen").is_some_and(|node| node.text().is_some());
    match listen {
        None if given => {
            let path = "metrics.listen";
            let message = "expected an address and a port such as \"127.0.0.1:9464\"";
            problems.add(path, &origin(path), message);
        }
        Some(listen) if !listen.ip().is_loopback() && token.is_none() => {
            let path = "metrics.listen";
            let message = "others can reach this address, and no token is asked for".to_owned();
            let hint = "set metrics.token, or listen at 127.0.0.1".to_owned();
            problems.add_with_hint(path, &origin(path), (message, hint));
        }
        _ => {}
    }
    if token.as_ref().is_some_and(|token| token.reveal().len() < SHORTEST_TOKEN) {
        let message = format!("expected at least {SHORTEST_TOKEN} characters");
        problems.add("metrics.token", &origin("metrics.token"), message);
    }
}

/// A shorter one could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Sets one field; true if the option is known. A test holds the table of options against it.
pub(crate) fn apply(settings: &mut Settings, option: (&str, &str), node: &Node) -> bool {
    let count = || match node.value {
        Value::Integer(number) => usize::try_from(number).ok(),
        _ => None,
    };
    let size = || check::size(node, 0).ok();
    let size_in_memory = || size().and_then(|bytes| usize::try_from(bytes).ok());
    let duration = || node.text().and_then(|text| parse_duration(text).ok());
    match option {
        ("run", "mode") => put(&mut settings.mode, node.text().and_then(run_mode)),
        ("run", "once") => put(&mut settings.once, boolean(node)),
        ("run", "on_position_lost") => {
            put(&mut settings.on_position_lost, node.text().and_then(word));
        }
        ("copy", "parallel_tables") => put(&mut settings.parallel_tables, count()),
        ("copy", "lanes") => put(&mut settings.lanes, count()),
        ("copy", "batch_bytes") => put(&mut settings.copy_batch_bytes, size_in_memory()),
        ("stream", "buffer_bytes") => put(&mut settings.buffer_bytes, size_in_memory()),
        ("stream", "spool_bytes") => put(&mut settings.spool_bytes, size()),
        ("stream", "spool_directory") => {
            settings.spool_directory = node.text().map(Into::into);
        }
        ("retry", "initial") => put(&mut settings.retry_initial, duration()),
        ("retry", "max") => put(&mut settings.retry_max, duration()),
        ("retry", "startup") => put(&mut settings.retry_startup, duration()),
        ("verify", "connections") => put(&mut settings.verify.connections, count()),
        ("verify", "statement") => put(&mut settings.verify.statement, duration()),
        ("verify", "max_lag_bytes") => put(&mut settings.verify.max_lag_bytes, size()),
        ("verify", "timeout") => put(&mut settings.verify.timeout, duration()),
        ("verify", "schedule") => {
            settings.verify.schedule = node.text().and_then(|text| text.parse().ok());
        }
        ("metrics", "listen") => {
            settings.metrics.listen = node.text().and_then(|text| text.parse().ok());
        }
        ("metrics", "token") => settings.metrics.token = node.text().map(Secret::new),
        _ => return false,
    }
    true
}

fn put<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match node.value {
        Value::Boolean(flag) => Some(flag),
        _ => None,
    }
}

fn run_mode(text: &str) -> Option<RunMode> {
    match text {
        "auto" => Some(RunMode::Auto),
        "full-load" => Some(RunMode::FullLoad),
        "cdc" => Some(RunMode::Cdc),
        _ => None,
    }
}

fn selection(root: &Node, problems: &mut Problems) -> TableSelection {
    let mut selection = TableSelection::default();
    for (path, excludes) in [("tables.include", false), ("tables.exclude", true)] {
        let Some(list) = root.at(path) else {
            continue;
        };
        for (index, item) in list.items().iter().enumerate() {
            let Some(text) = item.text() else {
                continue;
            };
            let (text, excludes) = match text.trim().strip_prefix('!') {
                Some(text) => (text, true),
                None => (text, excludes),
            };
            let path = format!("{path}[{index}]");
            match pattern_in(text.trim(), (item, &path), problems) {
                Some(pattern) if excludes => selection.exclude.push(pattern),
                Some(pattern) => selection.include.push(pattern),
                None => {}
            }
        }
    }
    match root.at("tables.include") {
        // Exclusions alone are exclusions from the default.
        Some(list) if list.items().is_empty() => {
            problems.add("tables.include", &list.origin, "selects no table");
        }
        _ if selection.include.is_empty() => {
            selection.include.extend("public.*".parse::<Pattern>().ok());
        }
        _ => {}
    }
    selection
}

fn rule(node: &Node, path: &str, problems: &mut Problems) -> Option<TableRule> {
    let text = |key: &str| node.at(key).and_then(Node::text);
    let pattern = node.at("match")?;
    let pattern = pattern_in(pattern.text()?, (pattern, &format!("{path}.match")), problems)?;
    let mode = text("mode").and_then(word::<Mode>);
    let target = node.at("target").and_then(|target| {
        let path = format!("{path}.target");
        if pattern.exact().is_none() {
            let message = "several tables cannot go to one: `match` has a wildcard";
            problems.add(&path, &target.origin, message);
            return None;
        }
        table_name(target, &path, problems)
    });
    if let (Some(delete), Some(mode @ (Mode::Append | Mode::Replace))) = (node.at("delete"), mode) {
        let mode = if mode == Mode::Append { "append" } else { "replace" };
        let message = format!("applies to mode \"merge\", and this rule has mode \"{mode}\"");
        problems.add(&format!("{path}.delete"), &delete.origin, message);
    }
    Some(TableRule {
        mode,
        delete: text("delete").and_then(word),
        schema: text("schema").and_then(word),
        unrepresentable: text("unrepresentable").and_then(word),
        columns: policies(node.at("columns")),
        metadata: node
            .at("metadata")
            .and_then(|node| metadata(node, (mode, &format!("{path}.metadata")), problems)),
        target,
        pattern,
    })
}

/// What is said of single columns; what is no policy was reported already.
fn policies(node: Option<&Node>) -> BTreeMap<String, ValuePolicy> {
    let entries = node.map(Node::entries).unwrap_or_default().iter();
    let policy = |node: &Node| node.text().and_then(word::<ValuePolicy>);
    entries.filter_map(|(column, node)| Some((column.clone(), policy(node)?))).collect()
}

/// A word of one of the core's enumerations.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::from(text)).ok()
}

fn table_name(node: &Node, path: &str, problems: &mut Problems) -> Option<TableName> {
    let name = pattern_in(node.text()?, (node, path), problems)?.exact();
    if name.is_none() {
        problems.add(path, &node.origin, "is one table's name, without wildcards");
    }
    name
}

/// The pattern that the `text` of `node` is. What is said about one that is malformed does not
/// show what may come from a secret place.
fn pattern_in(text: &str, (node, path): (&Node, &str), problems: &mut Problems) -> Option<Pattern> {
    let error = match text.parse() {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    if node.substituted {
        problems.add(path, &node.origin, "what was put in is not a table pattern");
    } else {
        problems.add_error(path, &node.origin, &error);
    }
    None
}

/// The metadata columns, with the names that `default_names` gives.
fn metadata(
    node: &Node,
    (mode, path): (Option<Mode>, &str),
    problems: &mut Problems,
) -> Option<MetadataColumns> {
    let all = match mode {
        Some(Mode::Append) => MetadataColumns::append(),
        _ => MetadataColumns::merge(),
    };
    if let Value::Boolean(wanted) = node.value {
        return Some(if wanted { all } else { MetadataColumns::default() });
    }
    let mut columns = MetadataColumns::default();
    let mut names: Vec<&str> = Vec::new();
    for (key, entry) in node.entries() {
        let path = format!("{path}.{key}");
        let field = match key.as_str() {
            "op" => &mut columns.op,
            "deleted" => &mut columns.deleted,
            "position" => &mut columns.position,
            "seq" => &mut columns.seq,
            "committed_at" => &mut columns.committed_at,
            "loaded_at" => &mut columns.loaded_at,
            "unchanged" => &mut columns.unchanged,
            _ => {
                let known = METADATA_KEYS;
                let hint = match check::nearest(key, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.join(", ")),
                };
                let message = "unknown metadata column".to_owned();
                problems.add_with_hint(&path, &entry.origin, (message, hint));
                continue;
            }
        };
        match &entry.value {
            Value::String(name) if !name.is_empty() && !names.contains(&name.as_str()) => {
                *field = Some(name.clone());
                names.push(name);
            }
            Value::String(name) if name.is_empty() => {
                problems.add(&path, &entry.origin, "expected a column's name");
            }
            Value::String(_) => problems.add(&path, &entry.origin, "the name is used twice"),
            Value::Boolean(true) => *field = Some(format!("_rowtide_{key}")),
            Value::Boolean(false) => {}
            _ => problems.add(&path, &entry.origin, "expected a column's name or true"),
        }
    }
    Some(columns)
}

const METADATA_KEYS: [&str; 7] =
    ["op", "deleted", "position", "seq", "committed_at", "loaded_at", "unchanged"];

/// One end: finds its connector, checks its options, and lets the connector check them too.
/// Returns it with the name that the connector suggests for the pipeline.
pub(crate) fn endpoint(
    root: &Node,
    (path, connectors): (&'static str, &'static [ConnectorSpec]),
    problems: &mut Problems,
) -> Option<(Endpoint, Option<String>)> {
    let Some(node) = root.at(path) else {
        let example = connectors.first().map_or("…", |spec| spec.url);
        let flag = if path == "source" { "--from" } else { "--to" };
        let message =
            format!("is missing; write [{path}] with url = \"{example}\", or pass {flag}");
        problems.add(path, &Origin::Default, message);
        return None;
    };
    let spec = find_connector(node, (path, connectors), problems)?;
    let options: Vec<OptionSpec> = ENDPOINT.iter().chain(spec.options).copied().collect();
    let mut found = Problems::default();
    check::section(node, path, (&options, &[]), &mut found);
    let complete = found.is_empty();
    problems.extend(found);
    if !complete {
        return None;
    }
    let mut table = node.to_toml_table();
    table.remove("type");
    match (spec.check)(&table) {
        Ok(name) => {
            let endpoint = Endpoint { kind: spec.kind, options: table };
            Some((endpoint, name))
        }
        Err(error) => {
            problems.add_error(path, &node.origin, &error);
            None
        }
    }
}

fn find_connector(
    node: &Node,
    (path, connectors): (&str, &'static [ConnectorSpec]),
    problems: &mut Problems,
) -> Option<&'static ConnectorSpec> {
    let kinds: Vec<&str> = connectors.iter().map(|spec| spec.kind).collect();
    if let Some(kind) = node.at("type") {
        let found = kind.text().and_then(|kind| connectors.iter().find(|spec| spec.kind == kind));
        if found.is_none() {
            let message = format!("expected one of \"{}\"", kinds.join("\", \""));
            problems.add(&format!("{path}.type"), &kind.origin, message);
        }
        return found;
    }
    let Some(url) = node.at("url") else {
        let message = "needs a `url` or a `type`";
        problems.add(path, &node.origin, message);
        return None;
    };
    let scheme = url.text().and_then(|url| url.split_once(':')).map(|(scheme, _)| scheme);
    let found =
        connectors.iter().find(|spec| scheme.is_some_and(|scheme| spec.schemes.contains(&scheme)));
    if found.is_none() {
        let schemes: Vec<_> = connectors.iter().flat_map(|spec| spec.schemes).copied().collect();
        let listed: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}:")).collect();
        let message = format!("the URL must start with one of {}", listed.join(", "));
        let hint = scheme.and_then(|scheme| check::nearest(scheme, &schemes));
        let hint = match hint {
            Some(near) => format!("did you mean `{near}:`?"),
            None => format!("for example {}", connectors.first().map_or("…", |spec| spec.url)),
        };
        problems.add_with_hint(&format!("{path}.url"), &url.origin, (message, hint));
    }
    found
}

/// The pipeline's name: as given, else as the source suggests.
pub(crate) fn pipeline_name(
    root: &Node,
    suggested: Option<String>,
    problems: &mut Problems,
) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let Some(node) = root.at("pipeline") else {
        let name = suggested.unwrap_or_else(|| "rowtide".into());
        let name: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
        return name.chars().take(MAX_NAME).collect();
    };
    let name = node.text().unwrap_or_default();
    if !name.is_empty() && (!name.chars().all(allowed) || name.len() > MAX_NAME) {
        let message = format!("expected up to {MAX_NAME} letters, digits, `_` or `-`");
        problems.add("pipeline", &node.origin, message);
    }
    name.to_owned()
}

/// PostgreSQL allows 63 bytes for the name of a slot, which has a prefix.
const MAX_NAME: usize = 48;

/// What a program's connectors are, for messages and documents.
pub(crate) fn all_connectors(
    connectors: Connectors,
) -> [(&'static str, &'static [ConnectorSpec]); 2] {
    [("source", connectors.sources), ("destination", connectors.destinations)]
}
