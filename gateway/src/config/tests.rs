//! The sample file is true; what is wrong is said with key, value and remedy.

use super::*;

const SAMPLE: &str = include_str!("../../../deploy/portcullis.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, |_| None)
}

/// Keys of the sample, live or commented out, with their sections.
fn sample_lines() -> Vec<(String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in SAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.trim_start_matches('#').split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            lines.push((format!("{section}{key}"), value.to_owned()));
        }
    }
    lines
}

#[test]
fn the_sample_is_a_configuration() {
    let config = parse(SAMPLE).expect("the sample parses");
    assert_eq!(config.range, 10_000..=15_000);
    assert_eq!((config.api.at.to_string().as_str(), config.api.tls), ("127.0.0.1:8700", false));
    assert_eq!((config.metrics.at.to_string().as_str(), config.metrics.tls), ("127.0.0.1:9700", false));
    assert_eq!((config.certificates.len(), config.broker_tls), (0, BrokerTls::Off));
}

#[test]
fn the_sample_names_every_key_and_no_other() {
    let named: Vec<String> = sample_lines().into_iter().map(|(key, _)| key).collect();
    assert_eq!(named, KEYS);
}

#[test]
fn commented_lines_of_the_sample_are_true_too() {
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    parse(&uncommented).expect("every line of the sample parses");
}

/// A certificate is good only with its key, and TLS only with both.
const CERTIFIED: &str = "addresses = [\"127.0.80.1\"]\ntls.certificate = \"crt\"\ntls.key = \"key\"";

#[test]
fn tls_is_where_it_can_be_and_has_to_be() {
    let check = |more: &str| {
        let config = parse(&format!("{CERTIFIED}\n{more}")).expect(more);
        (config.broker_tls, config.api.tls, config.metrics.tls)
    };
    let outside = "api.listen = \"192.0.2.1:8700\"\nmetrics.listen = \"[2001:db8::1]:9700\"";
    assert_eq!(check(""), (BrokerTls::Optional, false, false));
    assert_eq!(check(outside), (BrokerTls::Optional, true, true));
    assert_eq!(check("api.listen = \"[::ffff:127.0.0.1]:8700\""), (BrokerTls::Optional, false, false));
    assert_eq!(check("api.tls = true\nmetrics.tls = true"), (BrokerTls::Optional, true, true));
    assert_eq!(check("tls.broker_ports = \"required\""), (BrokerTls::Required, false, false));
    assert_eq!(check("tls.broker_ports = \"off\""), (BrokerTls::Off, false, false));
    let plain = "api.tls = false\napi.allow_plain = true\nmetrics.allow_plain = true";
    assert_eq!(check(&format!("{outside}\n{plain}")), (BrokerTls::Optional, false, true));

    assert_eq!(check("api.listen = \"unix:/run/portcullis/api.sock\""), (BrokerTls::Optional, false, false));

    let told = format!("addresses = [\"127.0.80.1\"]\n{outside}\n{plain}");
    let config = parse(&told).expect("allowed");
    assert_eq!((config.broker_tls, config.api.tls, config.metrics.tls), (BrokerTls::Off, false, false));
}

#[test]
fn a_unix_socket_is_named_by_its_path() {
    let longest = format!("/{}", "x".repeat(106));
    for (more, path, mode) in [
        ("api.listen = \"unix:/run/api.sock\"", "/run/api.sock", 0o600),
        ("api.listen = \"unix:/run/api.sock\"\napi.socket_mode = \"0660\"", "/run/api.sock", 0o660),
        (&format!("api.listen = \"unix:{longest}\""), longest.as_str(), 0o600),
    ] {
        let config = parse(&format!("addresses = [\"127.0.80.1\"]\n{more}")).expect(more);
        assert_eq!(config.api.at, At::Unix { path: path.into(), mode });
        assert_eq!(config.api.at.to_string(), format!("unix:{path}"));
    }
}

#[test]
fn every_key_can_come_from_the_environment() {
    for (key, value) in sample_lines() {
        let name = variable_name(&key);
        let config = Config::parse(CERTIFIED, |asked| (asked == name).then(|| value.clone()));
        assert!(config.is_ok(), "{name}={value}: {config:?}");
    }
    let config = Config::parse("addresses = [\"127.0.80.1\"]", |asked| {
        (asked == "PORTCULLIS_FILTER_BACKEND").then(|| "none".to_owned())
    });
    assert_eq!(config.expect("a bare word is a string").backend, Backend::None);
}

#[test]
fn clients_may_be_asked_for_certificates() {
    let check = |more: &str| {
        let config = parse(&format!("{CERTIFIED}\ntls.client_ca = \"ca\"\n{more}")).expect(more);
        [config.broker_clients, config.api.clients, config.metrics.clients]
    };
    let (any, some, all) =
        (Clients::Anybody, Clients::Optional("ca".into()), Clients::Certified("ca".into()));
    assert_eq!(check(""), [any.clone(), any.clone(), any.clone()]);
    assert_eq!(check("tls.client_certificates = \"optional\""), [some.clone(), any.clone(), any.clone()]);
    let required = "tls.broker_ports = \"required\"\ntls.client_certificates = \"required\"\napi.tls = true\n\
        api.client_certificates = \"required\"\nmetrics.tls = true\nmetrics.client_certificates = \"optional\"";
    assert_eq!(check(required), [all.clone(), all, some]);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, said) in [
        ("", "addresses = []: name at least one broker address, or broker_host"),
        (
            &format!("{CERTIFIED}\ntls.client_certificates = \"optional\""),
            "tls.client_certificates = \"optional\": this needs tls.client_ca",
        ),
        (
            &format!("{CERTIFIED}\ntls.client_ca = \"ca\"\ntls.client_certificates = \"required\""),
            "tls.client_certificates = \"required\": this needs tls.broker_ports = \"required\"",
        ),
        (
            &format!("{CERTIFIED}\ntls.client_ca = \"ca\"\napi.client_certificates = \"required\""),
            "api.client_certificates = \"required\": this needs api.tls = true",
        ),
        (
            "addresses = [\"127.0.80.1\"]\ntls.more = [{ certificate = \"crt\", key = \"key\" }]",
            "tls.more = \"\": these are beside tls.certificate and tls.key",
        ),
        ("addresses = [\"0.0.0.0\"]", "addresses = 0.0.0.0: broker addresses are addresses of this machine"),
        ("addresses = [\"127.0.80.1\"]\n[range]\nfirst = 2\nlast = 1", "range = \"2-1\": first must be"),
        ("addresses = [\"127.0.80.1\"]\n[broker]\nttl_s = 0", "broker.ttl_s = 0: at least 1"),
        (
            "addresses = [\"127.0.80.1\"]\n[filter]\nbackend = \"iptables\"",
            "filter.backend = \"iptables\": auto, ebpf, nft or none",
        ),
        (
            "addresses = [\"127.0.80.1\"]\n[api]\nlisten = \"0.0.0.0:8700\"",
            "api.listen = 0.0.0.0:8700: beyond loopback the API needs TLS: name tls.certificate and tls.key",
        ),
        (
            "addresses = [\"127.0.80.1\"]\n[metrics]\nlisten = \"[::]:9700\"",
            "metrics.listen = [::]:9700: beyond loopback metrics need TLS",
        ),
        (
            &format!("{CERTIFIED}\napi.listen = \"0.0.0.0:8700\"\napi.tls = false"),
            "api.listen = 0.0.0.0:8700: beyond loopback the API needs TLS",
        ),
        ("addresses = [\"127.0.80.1\"]\napi.tls = true", "api.tls = true: this needs tls.certificate"),
        (
            "addresses = [\"127.0.80.1\"]\ntls.certificate = \"x\"",
            "tls.key = \"\": name the file with the key of tls.certificate",
        ),
        (
            "addresses = [\"127.0.80.1\"]\ntls.key = \"x\"",
            "tls.certificate = \"\": name the file with the certificate of tls.key",
        ),
        (
            "addresses = [\"127.0.80.1\"]\ntls.broker_ports = \"required\"",
            "tls.broker_ports = \"required\": this needs tls.certificate and tls.key",
        ),
        (
            &format!("{CERTIFIED}\ntls.broker_ports = \"on\""),
            "tls.broker_ports = \"on\": off, optional or required",
        ),
        (
            "addresses = [\"127.0.80.1\"]\napi.listen = \"8700\"",
            "api.listen = \"8700\": ADDRESS:PORT, or unix:",
        ),
        ("addresses = [\"127.0.80.1\"]\napi.listen = \"unix:api.sock\"", "ADDRESS:PORT, or unix:/path"),
        ("addresses = [\"127.0.80.1\"]\napi.listen = \"unix:/a b\"", "ADDRESS:PORT, or unix:/path"),
        (
            &format!("addresses = [\"127.0.80.1\"]\napi.listen = \"unix:/{}\"", "x".repeat(107)),
            "ADDRESS:PORT, or unix:/path of at most 107 bytes",
        ),
        (
            &format!("{CERTIFIED}\napi.listen = \"unix:/run/x\"\napi.tls = true"),
            "api.tls = true: a Unix socket speaks no TLS",
        ),
        (
            "addresses = [\"127.0.80.1\"]\napi.socket_mode = \"0070\"",
            "api.socket_mode = \"0070\": octal permissions",
        ),
        ("addresses = [\"127.0.80.1\"]\nmetrics.connections = 0", "metrics.connections = 0: at least 1"),
        ("addresses = [\"127.0.80.1\"]\nmetrics.request_s = 0", "metrics.request_s = 0: at least 1"),
        (
            "addresses = [\"127.0.80.1\"]\nallowed_origins = [\"https://x\", \"https://y/\"]",
            "allowed_origins = \"https://y/\": an origin is http://HOST[:PORT] or https://HOST[:PORT]",
        ),
        (
            "addresses = [\"127.0.80.1\"]\nallowed_origins = [\"null\"]",
            "allowed_origins = \"null\": an origin",
        ),
        ("adresses = []", "unknown field `adresses`"),
        ("[range]\nfirst = 70000", "invalid value"),
        (
            "addresses = [\"127.0.80.1\"]\n[broker]\nrest_s = 9223372036854775807",
            "broker.rest_s = 9223372036854775807: at most",
        ),
        (
            "addresses = [\"127.0.80.1\"]\nsession.bytes_per_s = 1000",
            "session.bytes_per_s = 1000: at least 4096, or 0 for no limit",
        ),
        (
            "addresses = [\"127.0.80.1\"]\naddress_interface = \"\"",
            "address_interface = \"\": the name of an interface",
        ),
        ("cores = 300\naddresses = [\"127.0.80.1\"]", "cores = 300: at most 256"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text:?} says {error:?}");
    }
}
