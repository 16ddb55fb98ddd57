//! The page that Prometheus reads, in its text format 0.0.4. What encodes the registry writes OpenMetrics,
//! which tools for the older format do not take; Prometheus takes both.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// Content type of [`encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a scrape.
///
/// # Errors
/// A collector failed to write.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    encode_registry(&mut page, registry)?;
    Ok(plain(&page))
}

/// The samples are the same in both formats; what is said about them is not. OpenMetrics names the family,
/// `sessions`, where the older format has the name of the sample, `sessions_total`; it has units, and a
/// type for what never changes.
fn plain(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    // HELP comes before TYPE, which says how the name goes on.
    let mut help = "";
    for line in page.lines() {
        match line.strip_prefix("# ").and_then(|about| about.split_once(' ')) {
            Some(("HELP", about)) => help = about.split_once(' ').map_or("", |(_, help)| help),
            Some(("TYPE", about)) => {
                let (name, kind) = about.split_once(' ').unwrap_or((about, "untyped"));
                let (ending, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                plain += &format!("# HELP {name}{ending} {help}\n# TYPE {name}{ending} {kind}\n");
            }
            Some(_) => {}
            None => {
                plain += line;
                plain.push('\n');
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::*;

    #[test]
    fn metrics_are_named_as_their_samples() {
        let mut registry = Registry::with_prefix("x");
        registry.register("a", "Some", Counter::<u64>::default());
        registry.register("b", "This", Info::new(vec![("version", "1")]));
        registry.register_with_unit("c", "So long", Unit::Seconds, Histogram::new([1.0]));
        let page = encode(&registry).expect("encodes");
        let expected = "# HELP x_a_total Some.\n# TYPE x_a_total counter\nx_a_total 0\n\
                        # HELP x_b_info This.\n# TYPE x_b_info gauge\nx_b_info{version=\"1\"} 1\n\
                        # HELP x_c_seconds So long.\n# TYPE x_c_seconds histogram\n\
                        x_c_seconds_sum 0.0\nx_c_seconds_count 0\n\
                        x_c_seconds_bucket{le=\"1.0\"} 0\nx_c_seconds_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(page, expected);
    }
}
