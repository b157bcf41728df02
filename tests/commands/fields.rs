//! `config/FIELDS.md`, the reference of every field that is read, is what the tables of the reader say.
//!
//! `RINGWAY_UPDATE=1 cargo test --test commands fields` writes it anew.

use std::fmt::Write;
use std::path::Path;

use ringway::istio::reader::{Message, State, Without};
use ringway::istio::{KINDS, KindTables};

const HEAD: &str = "\
# Fields

Every field of every kind that ringway reads, and what it does with it. Made from the tables that the reader itself
uses (`RINGWAY_UPDATE=1 cargo test --test commands fields`): what is not listed here is an error, with a \"did you mean\".

- **enforced**: read, checked and done.
- **not yet**: Istio has it and ringway does not do it yet. It is checked, and refused by name. It restricts what is served,
  so with `--permissive` it takes out the part of the configuration that it is in: a block of a `match`, a rule, a server of
  a Gateway, a destination, an endpoint, a Sidecar. In the Proxy, which has no such parts, it stays an error. A field that
  is not listed here is treated alike.
- **not yet, and restricts nothing**: the same, but `--permissive` leaves it out alone, with a warning.
- **no effect**: accepted with a warning that says why it does nothing here.
- **deprecated**: still read, with a warning that says what to write instead.
- **removed**: Istio had it once; an error says what to write instead.
- **no meaning**: accepted; it says nothing that a proxy would do.

Kinds of Kubernetes (Service, EndpointSlice, Endpoints, Pod, Secret) have many more fields than a proxy needs: they are known by name,
and an unknown one is an error there, too. Only `spec` and `status` of a Pod are not looked into, but for the Pod's address.
";

fn reference() -> String {
    let mut page = HEAD.to_owned();
    for kind in KINDS {
        let name = if kind.kind.is_empty() { "Every document" } else { kind.kind };
        let _ = writeln!(page, "\n## {name}");
        for message in kind.messages() {
            let _ = write!(page, "\n{}", table(message, kind));
        }
    }
    page
}

fn table(message: &Message, kind: &KindTables) -> String {
    let own = message.name == kind.kind || kind.kind.is_empty();
    let has_spec = message.fields.iter().all(|field| field.name != "apiVersion");
    let title = match () {
        () if !own || kind.kind.is_empty() && message.name != "the document" => message.name,
        () if has_spec => "`spec`",
        () => "Top level",
    };
    let mut table = format!("### {title}\n\n| field | state |\n| --- | --- |\n");
    for field in message.fields {
        let state = match field.state {
            State::Enforced => "enforced".to_owned(),
            State::NotYet(Without::More) => "not yet".to_owned(),
            State::NotYet(Without::NoMore) => "not yet, and restricts nothing".to_owned(),
            State::NoEffect(reason) => format!("no effect: {reason}"),
            State::Deprecated(instead) => format!("enforced, deprecated: {instead}"),
            State::Removed(instead) => format!("removed: {instead}"),
            State::Ignored(reason) => format!("no meaning: {reason}"),
        };
        let _ = writeln!(table, "| `{}` | {} |", field.name, state.replace('|', "\\|"));
    }
    table
}

#[test]
fn the_reference_of_fields_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/FIELDS.md");
    let expected = reference();
    if std::env::var_os("RINGWAY_UPDATE").is_some() {
        std::fs::write(&path, &expected).expect("config/FIELDS.md can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "config/FIELDS.md is not what the tables say, from line {:?} on: RINGWAY_UPDATE=1 cargo test --test commands fields",
        differs.map(|line| line + 1)
    );
}
