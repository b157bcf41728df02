use proptest::prelude::*;

use super::*;

fn parse(text: &str, first_line: u32) -> (Option<Node>, Vec<Fault>) {
    super::parse(text, first_line, &mut Keys::default())
}

fn tree(text: &str) -> Node {
    let (node, faults) = parse(text, 1);
    assert_eq!(faults, []);
    node.expect("no faults")
}

fn fault(text: &str) -> (u32, String, String) {
    let (_, faults) = parse(text, 1);
    let [fault] = faults.as_slice() else { panic!("one fault, not {faults:?}") };
    (fault.line, fault.path.clone(), fault.what.clone())
}

/// A compact form to compare with.
fn show(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => format!("{}={:?}", number.raw, number.whole),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| format!("{}:{}", entry.key, show(&entry.node))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [
        ("", "null"),
        ("~", "null"),
        ("true", "true"),
        ("yes", "\"yes\""),
        ("80", "80=Some(80)"),
        ("-3", "-3=Some(-3)"),
        ("80.0", "80.0=Some(80)"),
        ("1e3", "1e3=Some(1000)"),
        ("1.10", "1.10=None"),
        ("0x1F", "0x1F=Some(31)"),
        ("99999999999999999999", "99999999999999999999=None"),
        (".inf", ".inf=None"),
        ("inf", "\"inf\""),
        ("nan", "\"nan\""),
        ("1.2.3", "\"1.2.3\""),
        ("10s", "\"10s\""),
        ("'80'", "\"80\""),
        ("!!str 80", "\"80\""),
        ("! 80", "\"80\""),
        ("!!int 80", "80=Some(80)"),
        ("|\n a\n b\n", "\"a\\nb\\n\""),
    ] {
        assert_eq!(show(&tree(text)), expected, "{text}");
    }
}

#[test]
fn collections_nest_in_block_and_flow_style() {
    assert_eq!(show(&tree("a:\n- 1\n- b: [x, {c: d}]\n")), "{a:[1=Some(1),{b:[\"x\",{c:\"d\"}]}]}");
    assert_eq!(show(&tree("{\"a\": [1, 2], \"b\": null}")), "{a:[1=Some(1),2=Some(2)],b:null}");
    assert_eq!(show(&tree("80: a\ntrue: b\n")), "{80:\"a\",true:\"b\"}");
}

#[test]
fn anchors_aliases_and_merge_keys() {
    assert_eq!(show(&tree("a: &x {k: v}\nb: *x\n")), "{a:{k:\"v\"},b:{k:\"v\"}}");
    assert_eq!(
        show(&tree("a: &x {k: v, m: n}\nb:\n  <<: *x\n  k: own\n")),
        "{a:{k:\"v\",m:\"n\"},b:{k:\"own\",m:\"n\"}}"
    );
    assert_eq!(
        show(&tree("a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc:\n  <<: [*x, *y]\n")),
        "{a:{k:1=Some(1)},b:{k:2=Some(2),l:3=Some(3)},c:{k:1=Some(1),l:3=Some(3)}}"
    );
}

#[test]
fn every_field_has_its_line() {
    let node = tree("a: 1\nb:\n- c: 2\n  d_e:\n    f.g: 3\n- {h: 4}\n");
    for (path, line) in [
        ("", 1),
        ("a", 1),
        ("b", 2),
        ("b[0]", 3),
        ("b[0].c", 3),
        ("b[0].dE", 4),
        ("b[0].d_e[f.g]", 5),
        ("b[1].h", 6),
        ("b[0].missing.deeper", 3),
        ("b[7].c", 2),
        ("nowhere", 1),
        ("b[", 2),
    ] {
        assert_eq!(node.line_of(path), line, "{path}");
    }
    assert_eq!(parse("a: 1\nb: 2\n", 40).0.expect("valid").line_of("b"), 41);
}

#[test]
fn faults_say_where_and_what() {
    for (text, expected) in [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", (4, "b.c", "duplicate key \"c\": the first is on line 3")),
        ("a:\n- x: 1\n- y: 1\n  y: 2\n", (4, "a[1].y", "duplicate key \"y\": the first is on line 3")),
        ("a: !secret x\n", (1, "a", "the tag !secret has no meaning here")),
        ("a: !!binary aGk=\n", (1, "a", "the tag !!binary has no meaning here")),
        ("? [a]\n: b\n", (1, "", "a key must be a scalar (a template has to be rendered first)")),
        ("a: &x [*x]\n", (1, "a[0]", "an alias inside the value that it stands for")),
        ("a:\n  <<: 3\n", (2, "a", "\"<<\" merges mappings only")),
    ] {
        let (line, path, what) = fault(text);
        assert_eq!((line, path.as_str(), what.as_str()), expected, "{text}");
    }
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    assert_eq!(fault(&deep).2, "nested more than 64 levels deep");
    let mut text = "a0: &a0 [1]\n".to_owned();
    for level in 1..=MAX_DEPTH {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(fault(&text).2, "nested more than 64 levels deep");
}

/// kubectl takes all of these.
#[test]
fn brackets_and_quotes_may_end_further_left_than_the_specification_allows() {
    for (text, expected) in [
        ("a: [\n  \"x\",\n]\nb: 1\n", "{a:[\"x\"],b:1=Some(1)}"),
        ("a: [\n\"x\",\ny, z\n]\n", "{a:[\"x\",\"y\",\"z\"]}"),
        ("c:\n- - n: {\n  x: y,\n}\n  - b\n", "{c:[[{n:{x:\"y\"}},\"b\"]]}"),
        ("c:\n  a: \"one\n  two\n\nthree\"\n  b: 'one\nfour'\n", "{c:{a:\"one two\\nthree\",b:\"one four\"}}"),
        ("c:\n  a: [\n  ]\n  b: |\n    ]\n    }\n", "{c:{a:[],b:\"]\\n}\\n\"}}"),
    ] {
        assert_eq!(show(&tree(text)), expected, "{text}");
    }
    assert_eq!(tree("a: [\n  x,\n]\nb: 1\n").line_of("b"), 4);
    let (line, _, what) = fault("c:\n  a: [\n  ] ]\n");
    assert_eq!((line, what.as_str()), (3, "not valid YAML: misplaced bracket, at column 5"));
}

#[test]
fn text_that_cannot_be_mended_ends() {
    let text = format!("a: [\n{}", "x,\n".repeat(1_000));
    assert_eq!(fault(&text).0, 1001);
    let large = format!("a: [\n{}]\n", "x,\n".repeat(500_000));
    assert!(fault(&large).2.contains("invalid indentation"));
}

#[test]
fn alias_bombs_are_refused() {
    // The billion laughs: each level ten times the one before.
    let mut laughs = "a0: &a0 lol\n".to_owned();
    for level in 1..10 {
        let refs = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
    }
    assert_eq!(fault(&laughs).2, "aliases expand to more than 10 times the document");
    // The quadratic one: one long value, many references to it.
    let quadratic = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), vec!["*a"; 10_000].join(", "));
    assert_eq!(fault(&quadratic).2, "aliases expand to more than 10 times the document");
    // Anchors around anchors copy as well.
    let nested = format!("{}{}{}", "&a [".repeat(60), "x".repeat(100_000), "]".repeat(60));
    assert_eq!(fault(&nested).2, "aliases expand to more than 10 times the document");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        parse(&text, 1);
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([-?:,\\[\\]{}#&*!|>'\"%@`~ab1 \t\n\r\\\\.<\u{feff}]|: |- |\n  ){0,60}") {
        let _ = parse(&text, 1).0.map(|node| (node.line_of("a[1].b"), weigh(&node)));
    }
}
