//! Every format gives the same rows, and the same lines for what is wrong.

use std::collections::BTreeSet;

use super::*;

fn ids(text: &str, format: Format) -> Vec<String> {
    let instances = check(text.as_bytes(), format).expect("is sound");
    instances.into_iter().filter_map(|instance| instance.instance_id).collect()
}

/// What is wrong, as it is told.
fn told(text: &str, format: Format) -> Vec<String> {
    let wrong = check(text.as_bytes(), format).expect_err("is wrong");
    wrong.into_iter().map(|Wrong { line, what }| format!("{line}: {what}")).collect()
}

fn starts(told: &[String], expected: &[&str]) {
    let all = told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected));
    assert!(all && told.len() == expected.len(), "{told:#?}");
}

const CSV: &str = "\
instance_id,host,graphics_port,graphics_protocol,graphics_passwd,hypervisor,tls,tls_pin,tls_server_name,tls_start,graphics_path,graphics_command,graphics_arguments
i-1,10.0.0.1,5901,vnc,,,,,,,,,

i-2,10.0.0.2,5902,spice,\"with, comma\",lxc,pin,0000000000000000000000000000000000000000000000000000000000000000,c.example,connect,,,
i-3,,,serial,,,,,,,i-3/line,,
i-4,,,,,lxc,,,,,,lxc,c1 tty1
";

const TOML: &str = r#"
[[instance]]
instance_id = "i-1"
host = "10.0.0.1"
graphics_port = 5901
graphics_protocol = "vnc"

[[instance]]
instance_id = "i-2"
hypervisor = "lxc"
host = "10.0.0.2"
graphics_port = 5902
graphics_protocol = "spice"
graphics_passwd = "with, comma"
tls = "pin"
tls_pin = "0000000000000000000000000000000000000000000000000000000000000000"
tls_server_name = "c.example"
tls_start = "connect"

[[instance]]
instance_id = "i-3"
graphics_protocol = "serial"
graphics_path = "i-3/line"

[[instance]]
instance_id = "i-4"
hypervisor = "lxc"
graphics_command = "lxc"
graphics_arguments = ["c1", "tty1"]
"#;

const JSONL: &str = r#"{"instance_id": "i-1", "host": "10.0.0.1", "graphics_port": 5901, "graphics_protocol": "vnc"}

{"instance_id": "i-2", "host": "10.0.0.2", "graphics_port": 5902, "graphics_protocol": "spice", "graphics_passwd": "with, comma", "hypervisor": "lxc", "tls": "pin", "tls_pin": "0000000000000000000000000000000000000000000000000000000000000000", "tls_server_name": "c.example", "tls_start": "connect"}
{"instance_id": "i-3", "graphics_protocol": "serial", "graphics_path": "i-3/line"}
{"instance_id": "i-4", "hypervisor": "lxc", "graphics_command": "lxc", "graphics_arguments": ["c1", "tty1"]}
"#;

#[test]
fn all_formats_say_the_same() {
    let read = |text: &str, format| {
        serde_json::to_value(check(text.as_bytes(), format).expect("is sound")).expect("JSON")
    };
    let expected = read(JSONL, Format::Jsonl);
    assert_eq!(expected[1]["graphics_passwd"], "with, comma");
    assert_eq!(read(CSV, Format::Csv), expected);
    assert_eq!(read(TOML, Format::Toml), expected);
    for (text, format) in [(CSV, Format::Csv), (TOML, Format::Toml), (JSONL, Format::Jsonl)] {
        let marked = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(read(&marked, format), expected, "{format:?} by an editor that writes more than asked");
    }
}

#[test]
fn the_columns_are_the_fields() {
    let rows = serde_json::to_value(check(CSV.as_bytes(), Format::Csv).expect("is sound")).expect("JSON");
    let rows = rows.as_array().expect("a list").iter();
    let fields: BTreeSet<_> = rows.flat_map(|row| row.as_object().expect("an object").keys()).collect();
    let columns: BTreeSet<_> = CSV.lines().next().expect("a line").split(',').map(str::to_owned).collect();
    assert_eq!(fields, columns.iter().collect());
}

#[test]
fn csv_errors_name_their_lines() {
    let text = "\
instance_id,host,graphics_port,graphics_protocol,graphics_passwd
i-1,10.0.0.1,5901,vnc,\"two
lines\"


i-2,10.0.0.2,port,vnc,
i-3,10.0.0.3,5903
i-4,a b,5904,vnc,
,10.0.0.5,5905,vnc,
i-6,10.0.0.6,5906,telnet,
i-7,,5907,vnc,
i-1,10.0.0.8,5908,vnc,";
    let expected = [
        "6: graphics_port: invalid digit",
        "7: 3 fields, but 5 columns",
        "8: host \"a b\" is no name",
        "9: missing field `instance_id`",
        "10: unknown variant `telnet`",
        "11: missing field `host`",
        "12: instance_id \"i-1\" is that of line 2 too",
    ];
    starts(&told(text, Format::Csv), &expected);
}

#[test]
fn wrong_columns_are_told_once() {
    let text = "\ninstance_id,host,host,port\ni-1,h,h,5900\ni-2,h,h,5900\n";
    let expected = ["2: unknown column \"port\", known are", "2: more than one column \"host\""];
    starts(&told(text, Format::Csv), &expected);
}

#[test]
fn toml_errors_name_their_lines() {
    let good = TOML.trim_start();
    let text = format!(
        "{good}
[[instance]]
instance_id = \"i-3\"
host = \"10.0.0.3\"
graphics_port = 70000
graphics_protocol = \"vnc\"

[[instance]]
host = \"10.0.0.4\"
graphics_port = 5904
graphics_protocol = \"vnc\"

[[instance]] # a comment
instance_id = \"i-5\"
colour = \"red\"
host = \"10.0.0.5\"

[[instance]]
instance_id = \"i-1\"
host = \"10.0.0.6\"
graphics_port = 5906
graphics_protocol = \"vnc\"

[other]
key = 1
"
    );
    let line = |part: &str| 1 + text[..text.find(part).expect("is there")].matches('\n').count();
    let expected = [
        format!("{}: invalid value: integer `70000`", line("70000")),
        format!("{}: missing field `instance_id`", line("host = \"10.0.0.4\"") - 1),
        format!("{}: unknown field `colour`", line("colour")),
        format!("{}: instance_id \"i-1\" is that of line 1 too", line("10.0.0.6") - 2),
        format!("{}: \"other\" is no [[instance]]", line("[other]")),
    ];
    starts(&told(&text, Format::Toml), &expected.each_ref().map(String::as_str));
    starts(&told("[instance]\nhost = 1\n", Format::Toml), &["1: \"instance\" is no [[instance]]"]);
    starts(
        &told("\ninstance = [\n  {},\n  {},\n]\n", Format::Toml),
        &["3: missing field", "4: missing field"],
    );
}

#[test]
fn rows_in_one_line_are_told_apart() {
    let one = "{ instance_id = \"i-1\", host = \"h\", graphics_port = 1, graphics_protocol = \"vnc\" }";
    let told = told(&format!("instance = [{one}, {one}]"), Format::Toml);
    starts(&told, &["1: instance_id \"i-1\" is that of line 1 too"]);
}

#[test]
fn broken_toml_is_told_with_its_lines() {
    let told = told("[[instance]]\nhost = \n\n[[instance]]\nport 5\n", Format::Toml);
    let lines: Vec<_> = told.iter().map(|told| told.split(':').next().expect("a line")).collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"2"), Some(&"5")), "{told:?}");
}

#[test]
fn jsonl_errors_name_their_lines() {
    let text =
        format!("{JSONL}\n\n[]\n{{\"instance_id\": 7}}\n{{\n{}", JSONL.lines().next().expect("a line"));
    let expected = [
        "8: missing field `instance_id`",
        "9: invalid type: integer `7`, expected a string (column ",
        "10: EOF",
        "11: instance_id \"i-1\" is that of line 1 too",
    ];
    starts(&told(&text, Format::Jsonl), &expected);
}

#[test]
fn what_is_no_text_is_told() {
    let wrong = check(b"instance_id\n\xff\n", Format::Csv).expect_err("is wrong");
    assert_eq!(wrong, [Wrong::new(2, "not UTF-8")]);
}

#[test]
fn nothing_is_no_instance() {
    for format in [Format::Csv, Format::Toml, Format::Jsonl] {
        let header = if format == Format::Csv { CSV.lines().next().expect("a line") } else { "" };
        assert!(ids(header, format).is_empty());
    }
}

#[test]
fn formats_are_known_by_their_endings() {
    for (name, expected) in [
        ("a.toml", Some(Format::Toml)),
        ("a.CSV", Some(Format::Csv)),
        ("a.b.jsonl", Some(Format::Jsonl)),
        ("a.json", None),
        ("csv", None),
        ("-", None),
    ] {
        assert_eq!(by_ending(Path::new(name)), expected, "{name}");
    }
}
