//! Who may come in: one file per way to tell, each with the name that `websockify` has for it.

mod basic;
mod certificate;
mod origin;

use hyper::HeaderMap;

use super::token::PluginError;

/// A way to tell.
pub trait AuthPlugin: Send + Sync {
    /// Whether the visitor may come in.
    ///
    /// # Errors
    /// See [`Denied`].
    fn admit(&self, visitor: &Visitor<'_>) -> Result<(), Denied>;
}

/// Who asks.
pub struct Visitor<'a> {
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The certificate that was shown and found good, in DER.
    pub certificate: Option<&'a [u8]>,
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Name and password are asked for.
    Password,
    /// The page is not one that may.
    Origin,
    /// Not with this.
    Forbidden,
}

/// Their names.
pub const KNOWN: [&str; 3] = ["BasicHTTPAuth", "ExpectOrigin", "ClientCertCNAuth"];

/// The plug-in of that name, with or without its Python module before it, for `source`.
///
/// # Errors
/// See [`PluginError`].
pub fn plugin(class: &str, source: Option<&str>) -> Result<Box<dyn AuthPlugin>, PluginError> {
    let name = class.strip_prefix("websockify.auth_plugins.").unwrap_or(class);
    let known = KNOWN.iter().copied().find(|known| *known == name);
    let unknown = || PluginError::Unknown { what: "--auth-plugin", class: class.to_owned(), known: &KNOWN };
    let class = known.ok_or_else(unknown)?;
    // Without one nobody would ever be let in.
    let source = source.ok_or(PluginError::NoSource { class, option: "--auth-source" })?;
    Ok(match class {
        "BasicHTTPAuth" => Box::new(basic::Basic::new(source)),
        "ExpectOrigin" => Box::new(origin::ExpectOrigin::new(source)),
        _ => Box::new(certificate::CommonName::new(source)),
    })
}

/// The words of a list.
fn words(source: &str) -> Vec<String> {
    source.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_plug_in() {
        for name in KNOWN {
            for name in [name.to_owned(), format!("websockify.auth_plugins.{name}")] {
                assert!(plugin(&name, Some("a:b")).is_ok(), "{name}");
                assert!(matches!(plugin(&name, None), Err(PluginError::NoSource { .. })), "{name}");
            }
        }
        assert!(matches!(plugin("mine.Plugin", Some("x")), Err(PluginError::Unknown { .. })));
    }
}
