//! Certificates: whether they can be used, and who is believed without one.

use crate::config::Config;
use crate::relay::target::tls::Connector;
use crate::tls;

use super::Check;

pub fn checks(config: &Config) -> Vec<Check> {
    let own = config.tls.as_ref().map(|files| match tls::server_config(&files.certificate, &files.key) {
        Ok(_) => Check::ok("tls", files.certificate.display().to_string()),
        Err(error) => Check::missing("tls", error.to_string(), "correct tls.certificate and tls.key"),
    });
    own.into_iter().chain(targets(config)).collect()
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
