use super::*;

fn load_text(text: &[u8]) -> Documents {
    let mut loaded = Documents::default();
    loaded.add("<stdin>", text);
    loaded
}

fn kinds(loaded: &Documents) -> Vec<(u32, String)> {
    loaded
        .documents
        .iter()
        .filter(|document| !document.is_list)
        .map(|document| {
            let kind = match document.root.get("kind").map(|kind| &kind.value) {
                Some(Value::Text(kind)) => kind.to_string(),
                _ => "?".to_owned(),
            };
            (document.root.line, kind)
        })
        .collect()
}

fn lines(loaded: &Documents) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

fn owned(pairs: &[(u32, &str)]) -> Vec<(u32, String)> {
    pairs.iter().map(|(line, kind)| (*line, (*kind).to_owned())).collect()
}

#[test]
fn documents_are_split_and_know_their_lines() {
    for (text, expected) in [
        ("kind: A\n", &[(1, "A")][..]),
        ("---\nkind: A\n---\n# nothing\n---\n\nkind: B\n", &[(2, "A"), (7, "B")]),
        ("%YAML 1.2\n---\nkind: A\n...\n---\nkind: B\n", &[(3, "A"), (6, "B")]),
        ("--- {kind: A}\n--- # note\nkind: B\n", &[(1, "A"), (3, "B")]),
        ("\u{feff}kind: A\r\n---\r\nkind: B\r\n", &[(1, "A"), (3, "B")]),
        ("kind: A\ntext: |\n  ---\n  x\n----\n", &[]),
        ("# only a comment\n", &[]),
        ("", &[]),
        ("kind: List\nitems:\n- kind: A\n- kind: List\n  items: [{kind: B}]\n", &[(3, "A"), (5, "B")]),
        ("kind: ServiceList\nitems: []\n", &[]),
        ("{\"kind\": \"A\"}", &[(1, "A")]),
        ("{\"kind\": \"A\"}\n{\"kind\": \"B\"}\n", &[(1, "A"), (2, "B")]),
        ("\u{feff}\n{\"kind\": \"A\"}{\n\"kind\": \"B\"}\r\n\n{\"kind\": \"C\"}", &[(2, "A"), (2, "B"), (5, "C")]),
        (
            "{\"kind\": \"A\"}\n---\n{\"kind\": \"B\"}\n{\"kind\": \"C\"}\n--- {\"kind\": \"D\"} {\"kind\": \"E\"}\n",
            &[(1, "A"), (3, "B"), (4, "C"), (5, "D"), (5, "E")],
        ),
        ("{\"kind\": \"A\"} # note\n", &[(1, "A")]),
        ("{\"kind\": \"A\"}\n{\"kind\": \"B\"} # note\n", &[(1, "A"), (2, "B")]),
        ("{\"kind\": \"List\", \"items\": [{\"kind\": \"A\"}]}\n{\"kind\": \"B\"}", &[(1, "A"), (2, "B")]),
        ("{kind: A}\n---\n{kind: B}", &[(1, "A"), (3, "B")]),
    ] {
        assert_eq!(kinds(&load_text(text.as_bytes())), owned(expected), "{text:?}");
    }
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let loaded = load_text(b"kind: A\n---\nkind: [\n---\nkind: B\n");
    assert_eq!(kinds(&loaded), owned(&[(1, "A"), (5, "B")]));
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].line, 3);
}

#[test]
fn unreadable_input_is_named() {
    for (text, expected) in [
        (
            &b"kind: A\nname: caf\xe9\n"[..],
            "<stdin>:2: error: not UTF-8: byte 0xE9 at column 10 (save the file as UTF-8)",
        ),
        (b"\xff\xfek\0", "<stdin>:1: error: not UTF-8: byte 0xFF at column 1 (save the file as UTF-8)"),
        (
            b"{\"kind\": \"A\"}\n{\"kind\": \"B\"}\n{\"kind\": ]\n{",
            "<stdin>:3: error: not valid YAML: while parsing a node, did not find expected node content, at column 10",
        ),
        (
            b"\n[{\"kind\": \"A\"}]\n",
            "<stdin>:2: error: is a bare list, which kubectl does not read either (write the objects one after another, or \
             \"kind: List\" with the list as its \"items\")",
        ),
        (b"kind: List\nitems: 3\n", "<stdin>:2: items: error: must be a list, not a number"),
    ] {
        assert_eq!(lines(&load_text(text)), [expected]);
    }
}

#[test]
fn many_threads_find_what_one_finds() {
    let texts: Vec<String> =
        (0..50).map(|number| format!("a: {number}\nb: [{}]\n", "x, ".repeat(number % 7))).collect();
    let mut documents: Vec<(u32, &str)> = (1..).step_by(3).zip(texts.iter().map(String::as_str)).collect();
    documents.insert(20, (1000, "a: 1\na: 2\n"));
    documents.push((2000, "b: ["));
    let alone = format!("{:?}", parse(&documents, 1));
    assert!(alone.contains("duplicate key") && alone.contains("not valid YAML"), "{alone}");
    for threads in [2, 3, 8, 51, 1000] {
        assert_eq!(format!("{:?}", parse(&documents, threads)), alone, "{threads} threads");
    }
    assert!(parse(&[], 1).is_empty());
}
