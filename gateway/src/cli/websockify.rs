//! `portcullis websockify`: the options of `websockify` 0.13, and what they mean here.

mod log;
mod syslog;

use std::env::current_dir;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use nix::unistd::daemon;
use tracing::info;

use crate::websockify::token::PluginError;
use crate::websockify::{
    Aim, Certificates, Destination, Mode, Plan, Program, Rebinder, Source, TlsPlan, Web, auth, run as serve,
    suites, token,
};

use super::client::Failure;

use log::Log;

/// What is not taken over, and why.
const NOT_TAKEN_OVER: &str = "\
Not taken over from websockify 0.13; using it is an error:
  --libserver                  chooses another engine of Python's, and switches tokens and --auth-plugin off
  --token-plugin my.Class,
  --auth-plugin my.Class       classes of one's own: there is no Python here. A service that BaseTokenAPI or
                               JSONTokenApi asks can know what such a class knows
  --ssl-version tlsv1_1        TLS begins with 1.2
  --ssl-ciphers HIGH:!aNULL    OpenSSL's patterns: suites are named one by one
  -- PROGRAM without rebind.so moving a program to another port needs the library that the package `websockify`
                               of a distribution brings. Without it, say where the program listens: a target before
                               `--`, or --unix-target
  --key-password               opens keys in PKCS#8 only; `openssl pkcs8 -topk8` makes one of an older key
  JWTTokenApi                  takes RS, PS, ES256, ES384, HS and EdDSA (Ed25519), inside dir, A128KW to A256KW,
                               RSA-OAEP and RSA-OAEP-256; a private key of another kind than RSA is not read: the
                               public one is enough. Other tokens are refused, and the log says why

Token plug-ins: ReadOnlyTokenFile, TokenFile, TokenFileName, BaseTokenAPI, JSONTokenApi, JWTTokenApi, TokenRedis,
UnixDomainSocketDirectory. Auth plug-ins: BasicHTTPAuth, ExpectOrigin, ClientCertCNAuth.";

#[derive(Args)]
#[command(
    args_override_self = true,
    infer_long_args = true,
    after_help = NOT_TAKEN_OVER,
    override_usage = "portcullis websockify [OPTIONS] [SOURCE_ADDR:]SOURCE_PORT TARGET_ADDR:TARGET_PORT\n       \
        portcullis websockify [OPTIONS] --token-plugin CLASS [SOURCE_ADDR:]SOURCE_PORT\n       \
        portcullis websockify [OPTIONS] --unix-target FILE [SOURCE_ADDR:]SOURCE_PORT\n       \
        portcullis websockify [OPTIONS] [SOURCE_ADDR:]SOURCE_PORT [TARGET] -- PROGRAM..."
)]
pub struct Options {
    /// [SOURCE_ADDR:]SOURCE_PORT, unless --unix-listen or --inetd says it, and TARGET_ADDR:TARGET_PORT, unless
    /// --unix-target or a token does.
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// A program that is started, and is the target.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Log more.
    #[arg(short, long)]
    verbose: bool,
    /// Show a sign for each piece that moves on standard output: } > from the client, { < from the target.
    #[arg(long)]
    traffic: bool,
    /// Record each session to FILE.NUMBER, for noVNC to play.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Go on in the background.
    #[arg(short = 'D', long)]
    daemon: bool,
    /// End after one session.
    #[arg(long)]
    run_once: bool,
    /// Let nobody in after so many seconds, and end with the last session.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    /// End after so many seconds without a connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    idle_timeout: u64,
    /// Certificate for TLS, PEM. It may come later; without it nothing is encrypted.
    #[arg(long, value_name = "FILE", default_value = "self.pem")]
    cert: PathBuf,
    /// Its key, if it is not in the same file.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the key is encrypted with.
    #[arg(long, value_name = "PASSWORD", hide_env_values = true)]
    key_password: Option<String>,
    /// Refuse clients without TLS.
    #[arg(long)]
    ssl_only: bool,
    /// TLS with the target, whose certificate the system has to trust.
    #[arg(long)]
    ssl_target: bool,
    /// Clients with TLS need a certificate.
    #[arg(long)]
    verify_client: bool,
    /// Who vouches for it, PEM; by default whom the system trusts.
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Oldest version of TLS: default, tlsv1_2 (the same) or tlsv1_3.
    #[arg(long, value_name = "VERSION", default_value = "default", hide_possible_values = true)]
    ssl_version: Version,
    /// Suites of TLS 1.2 by OpenSSL's names, with colons between them; those of TLS 1.3 stay.
    #[arg(long, value_name = "SUITES")]
    ssl_ciphers: Option<String>,
    /// Listen on a Unix socket instead of a port.
    #[arg(long, value_name = "FILE")]
    unix_listen: Option<PathBuf>,
    /// Its permissions, octal; 0600 if nothing is said.
    #[arg(long, value_name = "MODE")]
    unix_listen_mode: Option<String>,
    /// The target is a Unix socket.
    #[arg(long, value_name = "FILE")]
    unix_target: Option<PathBuf>,
    /// Standard input is the socket to listen on.
    #[arg(long)]
    inetd: bool,
    /// Serve the files of a folder, noVNC for one, on the same port.
    #[arg(long, value_name = "DIR")]
    web: Option<PathBuf>,
    /// Only to those whom --auth-plugin lets in.
    #[arg(long)]
    web_auth: bool,
    /// What follows when the program ends, or goes to the background: exit, ignore or respawn.
    #[arg(long, value_name = "MODE", default_value = "exit", hide_possible_values = true)]
    wrap_mode: Mode,
    /// Of several source addresses, take one of IPv6.
    #[arg(short = '6', long)]
    prefer_ipv6: bool,
    #[arg(long, hide = true)]
    libserver: bool,
    /// The same as --token-plugin TokenFile --token-source FILE.
    #[arg(long, value_name = "FILE")]
    target_config: Option<PathBuf>,
    /// How a token leads to a target.
    #[arg(long, value_name = "CLASS")]
    token_plugin: Option<String>,
    /// What the token plug-in works with: a file, a folder, a URL or a server.
    #[arg(long, value_name = "ARG")]
    token_source: Option<String>,
    /// The token is the name in the Host header instead of `token` in the query.
    #[arg(long)]
    host_token: bool,
    /// Who is let in.
    #[arg(long, value_name = "CLASS")]
    auth_plugin: Option<String>,
    /// What the auth plug-in works with: name:password, origins, or common names.
    #[arg(long, value_name = "ARG")]
    auth_source: Option<String>,
    /// Ping clients so often.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    heartbeat: u64,
    /// Log to a file too.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Log to syslog too: a socket such as /dev/log, or HOST:PORT by UDP.
    #[arg(long, value_name = "SERVER")]
    syslog: Option<String>,
    /// By the older protocol of RFC 3164.
    #[arg(long)]
    legacy_syslog: bool,
    /// Do not list folders.
    #[arg(long)]
    file_only: bool,
}

/// Oldest version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version {
    Default,
    #[value(name = "tlsv1_1")]
    Tls11,
    #[value(name = "tlsv1_2")]
    Tls12,
    #[value(name = "tlsv1_3")]
    Tls13,
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Wrong usage, in words.
fn usage<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(why.into()))
}

/// Serves until it is over. Returns the exit code.
pub fn run(options: Options) -> Result<u8, Failure> {
    options.check()?;
    let log = Log::open(
        options.verbose,
        options.log_file.as_deref(),
        options.syslog.as_deref(),
        options.legacy_syslog,
        options.daemon,
    )?;
    let background = options.daemon;
    let source = options.source()?;
    let plan = options.plan(&source)?;
    let encrypted = plan.certificates.load()?;
    // What keeps it from starting is said before it goes to the background.
    let listener = source.listen()?;
    if background {
        daemon(false, false).context("go to the background")?;
    }
    log.begin();
    info!(listener = listener.name(), encrypted, "listening");
    Ok(serve(plan, listener)?)
}

impl Options {
    /// Options that go only with others, and those that are not taken over.
    fn check(&self) -> Result<(), Failure> {
        let tokens = self.token_plugin.is_some() || self.target_config.is_some();
        for (has, needs, what) in [
            (self.token_source.is_some(), self.token_plugin.is_some(), "--token-source needs --token-plugin"),
            (self.host_token, tokens, "--host-token needs --token-plugin"),
            (self.auth_source.is_some(), self.auth_plugin.is_some(), "--auth-source needs --auth-plugin"),
            (self.web_auth, self.auth_plugin.is_some(), "--web-auth needs --auth-plugin"),
            (self.web_auth, self.web.is_some(), "--web-auth needs --web"),
            (self.legacy_syslog, self.syslog.is_some(), "--legacy-syslog needs --syslog"),
            (self.cafile.is_some(), self.verify_client, "--cafile needs --verify-client"),
        ] {
            if has && !needs {
                return usage(what);
            }
        }
        if self.libserver {
            return usage(
                "--libserver chooses another engine of Python's, and there is no Python here; leave it out",
            );
        } else if self.ssl_version == Version::Tls11 {
            return usage("--ssl-version tlsv1_1: TLS begins with 1.2 here");
        } else if self.ssl_only && !self.cert.exists() {
            return usage(format!("--ssl-only: there is no {}", self.cert.display()));
        } else if self.ssl_target && self.unix_target.is_some() {
            return usage("--ssl-target: a Unix socket has no name that a certificate could be for");
        }
        Ok(())
    }

    fn source(&self) -> Result<Source, Failure> {
        if self.inetd {
            return Ok(Source::Inherited);
        } else if let Some(path) = &self.unix_listen {
            let mode = self.unix_listen_mode.as_deref().unwrap_or("600");
            let Ok(mode @ 0..=0o777) = u32::from_str_radix(mode, 8) else {
                return usage(format!("--unix-listen-mode {mode} is no mode"));
            };
            return Ok(Source::Unix { path: path.clone(), mode });
        }
        let Some(source) = self.addresses.first() else { return usage("say where to listen") };
        let (host, port) = source.rsplit_once(':').unwrap_or(("", source));
        let Ok(port) = port.parse() else { return usage(format!("{source} has no port to listen on")) };
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Source::Port { host, port, prefer_ipv6: self.prefer_ipv6 })
    }

    fn plan(self, source: &Source) -> Result<Plan, Failure> {
        let (aim, program) = self.aim(source)?;
        let plugin = self.auth_plugin.as_deref();
        let auth = plugin.map(|class| auth::plugin(class, self.auth_source.as_deref())).transpose()?;
        Ok(Plan {
            aim,
            target_tls: self.ssl_target,
            auth,
            certificates: Certificates::new(self.tls()?),
            web: self.web()?,
            program,
            heartbeat: Duration::from_secs(self.heartbeat),
            once: self.run_once,
            timeout: Duration::from_secs(self.timeout),
            idle_timeout: Duration::from_secs(self.idle_timeout),
            record: self.record.map(absolute).transpose()?,
            traffic: self.traffic,
        })
    }

    /// Where clients are led, and the program that has to be started for that.
    fn aim(&self, source: &Source) -> Result<(Aim, Option<Program>), Failure> {
        let from = usize::from(matches!(source, Source::Port { .. }));
        let (target, more) = match self.addresses.get(from..).unwrap_or_default() {
            [] => (None, None),
            [target] => (Some(target), None),
            [target, more, ..] => (Some(target), Some(more)),
        };
        if let Some(more) = more {
            return usage(format!("{more} is one address too many"));
        }
        let one = match (target, &self.unix_target) {
            (Some(target), Some(_)) => {
                return usage(format!("{target}: --unix-target is the target already"));
            }
            (None, Some(path)) => Some(Destination::Unix(absolute(path.clone())?)),
            (Some(target), None) => Some(address(target)?),
            (None, None) => None,
        };
        let by_token = self.by_token()?;
        let mut program = (!self.program.is_empty()).then(|| Program {
            command: self.program.clone(),
            mode: self.wrap_mode,
            rebinder: None,
        });
        let aim = match (one, by_token, &mut program) {
            (Some(one), Some(_), _) => return usage(format!("{one}: tokens name the targets")),
            (Some(one), None, _) => Aim::One(one),
            (None, Some(_), Some(_)) => return usage("tokens name the targets; a program is one itself"),
            (None, Some(by_token), None) => by_token,
            (None, None, Some(program)) => Aim::One(moved(program, source)?),
            (None, None, None) => return usage("say where clients are led: TARGET_ADDR:TARGET_PORT"),
        };
        Ok((aim, program))
    }

    fn by_token(&self) -> Result<Option<Aim>, Failure> {
        let plugin = match (&self.token_plugin, &self.target_config) {
            (Some(_), Some(_)) => return usage("--target-config is a --token-plugin already"),
            (Some(class), None) => token::plugin(class, self.token_source.as_deref())?,
            (None, Some(file)) => token::plugin("TokenFile", file.to_str())?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Aim::ByToken { plugin, in_host: self.host_token }))
    }

    fn tls(&self) -> Result<TlsPlan, Failure> {
        let suites = self.ssl_ciphers.as_deref().map(|text| {
            let known = suites();
            let named = text.split(':').map(|name| match known.iter().find(|(known, _)| known == name) {
                Some((_, suite)) => Ok(*suite),
                None => {
                    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
                    usage(format!("--ssl-ciphers: {name:?} is none of {}", names.join(":")))
                }
            });
            named.collect::<Result<Vec<_>, _>>()
        });
        Ok(TlsPlan {
            certificate: absolute(self.cert.clone())?,
            key: self.key.clone().map(absolute).transpose()?,
            password: self.key_password.clone(),
            only: self.ssl_only,
            clients: self.verify_client.then(|| self.cafile.clone().map(absolute).transpose()).transpose()?,
            suites: suites.transpose()?,
            only_13: self.ssl_version == Version::Tls13,
        })
    }

    fn web(&self) -> Result<Option<Web>, Failure> {
        let Some(folder) = &self.web else { return Ok(None) };
        let folder = folder.canonicalize().with_context(|| format!("--web {}", folder.display()))?;
        if !folder.is_dir() {
            return usage(format!("--web {} is no folder", folder.display()));
        }
        Ok(Some(Web { folder, listing: !self.file_only, auth: self.web_auth }))
    }
}

/// Where a program listens that is moved away from our port.
fn moved(program: &mut Program, source: &Source) -> Result<Destination, Failure> {
    let Source::Port { port, .. } = source else {
        return usage("a program takes the port that we listen on, and there is none: name a target");
    };
    let Some(rebinder) = Rebinder::find(*port).context("find a free port")? else {
        return usage(
            "rebind.so is not installed, which would move the program to another port (package websockify of \
             the distribution); or say where it listens: a target before `--`, or --unix-target",
        );
    };
    let destination = Destination::Tcp("127.0.0.1".to_owned(), rebinder.to);
    program.rebinder = Some(rebinder);
    Ok(destination)
}

fn address(text: &str) -> Result<Destination, Failure> {
    match text.rsplit_once(':').and_then(|(host, port)| Destination::new(host, port)) {
        Some(destination @ Destination::Tcp(..)) => Ok(destination),
        _ => usage(format!("{text} is no TARGET_ADDR:TARGET_PORT")),
    }
}

/// Found from the background too, where the folder is another.
fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    Ok(current_dir().context("the folder we are in")?.join(path))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(line: &str) -> Result<(Source, Plan), String> {
        let words = ["websockify"].into_iter().chain(line.split_whitespace());
        let options = Line::try_parse_from(words).map_err(|error| error.to_string())?.options;
        let planned = options.check().and_then(|()| {
            let source = options.source()?;
            let plan = options.plan(&source)?;
            Ok((source, plan))
        });
        planned.map_err(|failure| match failure {
            Failure::Usage(why) | Failure::Refused(why) => why,
            Failure::Failed(error) => format!("{error:#}"),
        })
    }

    fn check(line: &str, source: &str, target: &str) {
        let (found, plan) = plan(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        let found = match found {
            Source::Port { host, port, .. } => format!("{host}:{port}"),
            Source::Unix { path, mode } => format!("{} {mode:o}", path.display()),
            Source::Inherited => "inherited".to_owned(),
        };
        let aim = match plan.aim {
            Aim::One(destination) => destination.to_string(),
            Aim::ByToken { in_host, .. } => if in_host { "host" } else { "query" }.to_owned(),
        };
        assert_eq!((found.as_str(), aim.as_str()), (source, target), "{line}");
    }

    #[test]
    fn addresses_are_read_as_websockify_reads_them() {
        check("6080 localhost:5900", ":6080", "localhost:5900");
        check("127.0.0.1:6080 10.0.0.7:5901", "127.0.0.1:6080", "10.0.0.7:5901");
        check("[::1]:6080 [fd00::7]:5901", "::1:6080", "[fd00::7]:5901");
        check("-D 6080 --web /usr h:1 -v", ":6080", "h:1");
        check("6080 --unix-target /run/vm", ":6080", "/run/vm");
        check("--unix-listen /tmp/x h:1", "/tmp/x 600", "h:1");
        check("--unix-listen=/tmp/x --unix-listen-mode=0660 h:1", "/tmp/x 660", "h:1");
        check("--inetd h:1", "inherited", "h:1");
        check("--token-plugin TokenFile --token-source /t 6080", ":6080", "query");
        check("--target-config t 6080", ":6080", "query");
        check("--token-plugin=TokenFile --token-source=t --host-token 6080", ":6080", "host");
        check("6080 h:1 -- sh -c true", ":6080", "h:1");
        check("--cert a --cert b 6080 h:1", ":6080", "h:1");
        check("--unix-t /run/vm --heart=5 6080", ":6080", "/run/vm");
    }

    #[test]
    fn what_is_wrong_or_not_taken_over_is_said() {
        for (line, why) in [
            ("", "say where to listen"),
            ("6080", "say where clients are led"),
            ("x h:1", "x has no port to listen on"),
            ("6080 h", "h is no TARGET_ADDR:TARGET_PORT"),
            ("6080 h:1 more", "more is one address too many"),
            ("6080 unix_socket:/x", "is no TARGET_ADDR:TARGET_PORT"),
            ("6080 h:1 --unix-target /x", "--unix-target is the target already"),
            ("6080 h:1 --token-plugin TokenFile --token-source t", "tokens name the targets"),
            ("6080 --token-plugin mine.Class --token-source t", "a Python class cannot be used here"),
            ("6080 --token-plugin TokenFile", "TokenFile needs --token-source"),
            ("6080 h:1 --token-source t", "--token-source needs --token-plugin"),
            ("6080 h:1 --host-token", "--host-token needs --token-plugin"),
            ("6080 h:1 --auth-plugin BasicHTTPAuth", "BasicHTTPAuth needs --auth-source"),
            ("6080 h:1 --auth-plugin mine.Class --auth-source t", "a Python class cannot be used here"),
            ("6080 h:1 --web-auth --web /", "--web-auth needs --auth-plugin"),
            ("6080 h:1 --legacy-syslog", "--legacy-syslog needs --syslog"),
            ("6080 h:1 --libserver", "there is no Python here"),
            ("6080 h:1 --ssl-version tlsv1_1", "TLS begins with 1.2"),
            ("6080 h:1 --ssl-ciphers HIGH:!aNULL", "\"HIGH\" is none of ECDHE-"),
            ("6080 h:1 --ssl-only --cert /none/such", "there is no /none/such"),
            ("6080 --ssl-target --unix-target /x", "a Unix socket has no name"),
            ("--unix-listen /x --unix-listen-mode 9 h:1", "is no mode"),
            ("6080 h:1 --web /none/such", "--web /none/such"),
            ("6080 h:1 --wrap-mode never", "never"),
            ("--unix-listen /x -- true", "name a target"),
        ] {
            let said = plan(line).err().unwrap_or_else(|| panic!("{line} is taken"));
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
