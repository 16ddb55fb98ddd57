//! Certificates: whether they can be used, and who is believed without one.

use crate::config::Config;
use crate::relay::target::tls::Connector;
use crate::tls::{Clients, Server};

use super::Check;

pub fn checks(config: &Config) -> Vec<Check> {
    own(config).into_iter().chain(targets(config)).collect()
}

/// What clients are shown, and asked for.
fn own(config: &Config) -> Option<Check> {
    const NAME: &str = "tls";
    let first = config.certificates.first()?;
    let asked = [&config.broker_clients, &config.api.clients, &config.metrics.clients];
    let clients =
        asked.into_iter().find(|clients| **clients != Clients::Anybody).cloned().unwrap_or_default();
    let server = Server { own: config.certificates.clone(), clients };
    Some(match server.config() {
        Ok(_) => Check::ok(NAME, format!("{}, {} in all", first.certificate.display(), server.own.len())),
        Err(error) => Check::missing(NAME, error.to_string(), "correct the files that [tls] names"),
    })
}

/// TLS toward consoles; nothing to say where nobody asked for anything.
fn targets(config: &Config) -> Option<Check> {
    const NAME: &str = "target tls";
    let ca = config.target_ca.as_ref();
    if let Err(error) = Connector::new(ca, config.insecure_target_tls) {
        return Some(Check::missing(NAME, error.to_string(), "correct targets.ca"));
    }
    if config.insecure_target_tls {
        let remedy = "give instances tls = \"pin\" with tls_pin, or a targets.ca, and set it to false";
        return Some(Check::degraded(NAME, "targets.insecure_tls = true: anybody may be a console", remedy));
    }
    ca.map(|ca| Check::ok(NAME, format!("authorities of {}", ca.display())))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_believes_anybody_is_told() {
        for (lines, states) in [
            ("", vec![]),
            ("targets.insecure_tls = true", vec![("target tls", State::Degraded)]),
            ("targets.ca = \"/nowhere\"", vec![("target tls", State::Missing)]),
            ("[tls]\ncertificate = \"/nowhere\"\nkey = \"/nowhere\"", vec![("tls", State::Missing)]),
        ] {
            let config = Config::parse(&format!("addresses = [\"127.0.80.1\"]\n{lines}"), |_| None);
            let found: Vec<_> = checks(&config.expect("a configuration"))
                .iter()
                .map(|check| (check.name, check.state))
                .collect();
            assert_eq!(found, states, "{lines}");
        }
    }
}
