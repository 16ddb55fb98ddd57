//! Two machines of IronRDP's parts. One is a desktop by its server: its size follows the viewer's wish, and text and
//! files go by its clipboard, both ways. What is copied at the viewer's device is pasted at once. The other one prints.
//!
//! It says a line with their ports on 127.0.0.1, `port` and `printing_port`, and then answers each line of its input, a
//! JSON object, with one: `{"do": "look"}` with `width` and `height`, what was pasted, `text` and `files` of `name` and
//! `text`, and the viewer's `printers` of `name` and `driver`; `{"do": "copy"}` copies a `text` on the desktop, or
//! `files`; `{"do": "print"}` prints a `text`, as soon as there is a printer. It ends with its input.

mod printing;

use std::io::{BufRead, Write};
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;
use ironrdp_cliprdr::backend::{ClipboardMessage, CliprdrBackend, CliprdrBackendFactory};
use ironrdp_cliprdr::pdu::{
    ClipboardFormat, ClipboardFormatId, ClipboardFormatName, ClipboardGeneralCapabilityFlags,
    FileContentsFlags, FileContentsRequest, FileContentsResponse, FileDescriptor, FormatDataRequest,
    FormatDataResponse, LockDataId, OwnedFormatDataResponse,
};
use ironrdp_core::impl_as_any;
use ironrdp_displaycontrol::pdu::DisplayControlMonitorLayout;
use ironrdp_server::tokio_rustls::TlsAcceptor;
use ironrdp_server::{
    BitmapUpdate, CliprdrServerFactory, DesktopSize, DisplayUpdate, PixelFormat, RdpServer, RdpServerDisplay,
    RdpServerDisplayUpdates, ServerEvent, ServerEventSender,
};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

struct State {
    size: watch::Sender<DesktopSize>,
    clipboard: Mutex<Clipboard>,
    /// Those of the viewer that is there, as they are shown.
    printers: watch::Sender<Vec<Value>>,
    /// To be printed.
    documents: mpsc::UnboundedSender<Vec<u8>>,
}

/// What the machine's programs have, if there were any.
#[derive(Default)]
struct Clipboard {
    events: Option<mpsc::UnboundedSender<ServerEvent>>,
    /// What they copied.
    text: String,
    files: Vec<File>,
    /// What a viewer's device had copied, and they pasted.
    pasted_text: Option<String>,
    pasted_files: Vec<File>,
    /// What is being pasted.
    wanted: Vec<FileDescriptor>,
}

struct File {
    name: String,
    content: Vec<u8>,
}

fn main() -> anyhow::Result<()> {
    let size = watch::Sender::new(DesktopSize { width: 800, height: 600 });
    let (documents, queue) = mpsc::unbounded_channel();
    let printers = watch::Sender::new(Vec::new());
    let state = Arc::new(State { size, clipboard: Mutex::default(), printers, documents });
    let of = state.clone();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let answer = line.map_err(anyhow::Error::from).and_then(|line| of.answer(&line));
            say(&answer.unwrap_or_else(|error| json!({ "error": format!("{error:#}") })));
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(state, queue))
}

fn say(answer: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever does not listen any more has ended this.
    let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
}

async fn serve(state: Arc<State>, documents: mpsc::UnboundedReceiver<Vec<u8>>) -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed(["desktop".to_owned()])?;
    let key = certified.signing_key.serialize_der().try_into().map_err(anyhow::Error::msg)?;
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    let tls = TlsAcceptor::from(Arc::new(tls));
    let [listener, printing] =
        [TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?];
    say(&json!({ "port": listener.local_addr()?.port(), "printing_port": printing.local_addr()?.port() }));
    let printers = state.printers.clone();
    tokio::try_join!(
        serve_desktop(listener, tls.clone(), state),
        printing::serve(printing, tls, printers, documents),
    )?;
    Ok(())
}

async fn serve_desktop(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) -> anyhow::Result<()> {
    let mut server = RdpServer::builder()
        .with_addr(listener.local_addr()?)
        .with_tls(tls)
        .with_no_input()
        .with_display_handler(Display(state.clone()))
        .with_cliprdr_factory(Some(Box::new(Factory(state))))
        .build();
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = server.run_connection(stream).await {
            eprintln!("{error:#}");
        }
    }
}

impl State {
    fn clipboard(&self) -> MutexGuard<'_, Clipboard> {
        self.clipboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, line: &str) -> anyhow::Result<Value> {
        let wish: Value = serde_json::from_str(line)?;
        let mut clipboard = self.clipboard();
        match (wish["do"].as_str(), wish["text"].as_str(), wish["files"].as_array()) {
            (Some("look"), ..) => {
                let DesktopSize { width, height } = *self.size.borrow();
                let files: Vec<_> = clipboard.pasted_files.iter().map(File::shown).collect();
                let printers = self.printers.borrow().clone();
                Ok(json!({
                    "width": width, "height": height,
                    "text": clipboard.pasted_text, "files": files,
                    "printers": printers,
                }))
            }
            (Some("copy"), Some(text), _) => {
                text.clone_into(&mut clipboard.text);
                let format = ClipboardFormat::new(ClipboardFormatId::CF_UNICODETEXT);
                clipboard.tell(ClipboardMessage::SendInitiateCopy(vec![format]));
                Ok(json!({}))
            }
            (Some("copy"), None, Some(files)) => {
                clipboard.files = files.iter().map(File::read).collect::<Option<_>>().context("no files")?;
                let list = clipboard.files.iter().map(File::described).collect();
                clipboard.tell(ClipboardMessage::SendInitiateFileCopy(list));
                Ok(json!({}))
            }
            (Some("print"), Some(text), _) => {
                self.documents.send(text.into())?;
                Ok(json!({}))
            }
            _ => anyhow::bail!("{wish} is nothing to do"),
        }
    }
}

impl File {
    fn read(wish: &Value) -> Option<Self> {
        let [name, text] = ["name", "text"].map(|key| wish[key].as_str());
        Some(Self { name: name?.to_owned(), content: text?.into() })
    }

    fn shown(&self) -> Value {
        json!({ "name": self.name, "text": String::from_utf8_lossy(&self.content) })
    }

    fn described(&self) -> FileDescriptor {
        let mut described = FileDescriptor::new(self.name.as_str());
        described.file_size = Some(self.content.len() as u64);
        described
    }
}

impl Clipboard {
    fn tell(&self, message: ClipboardMessage) {
        // Nobody is there, or left.
        let _ = self.events.as_ref().map(|events| events.send(ServerEvent::Clipboard(message)));
    }

    /// Asks for all of the next file that is not there.
    fn want_next(&self) {
        let at = self.pasted_files.len();
        if let Some(file) = self.wanted.get(at) {
            self.tell(ClipboardMessage::SendFileContentsRequest(FileContentsRequest {
                stream_id: at as u32,
                index: at as i32,
                flags: FileContentsFlags::RANGE,
                position: 0,
                requested_size: file.file_size.unwrap_or_default() as u32,
                data_id: None,
            }));
        }
    }
}

/// One colour all over, whatever its size.
struct Display(Arc<State>);

#[async_trait::async_trait]
impl RdpServerDisplay for Display {
    async fn size(&mut self) -> DesktopSize {
        *self.0.size.borrow()
    }

    async fn updates(&mut self) -> anyhow::Result<Box<dyn RdpServerDisplayUpdates>> {
        Ok(Box::new(Updates { size: self.0.size.subscribe(), stale: true }))
    }

    fn request_layout(&mut self, layout: DisplayControlMonitorLayout) {
        let wished =
            layout.monitors().iter().find(|monitor| monitor.is_primary()).map(|monitor| monitor.dimensions());
        if let Some((width, height)) = wished {
            self.0.size.send_replace(DesktopSize { width: width as u16, height: height as u16 });
        }
    }
}

struct Updates {
    size: watch::Receiver<DesktopSize>,
    /// What a viewer has is of another size, or nothing.
    stale: bool,
}

/// Its parts, of four bytes for each pixel.
const COLOUR: [u8; 4] = [0x20, 0x80, 0xc0, 0xff];

#[async_trait::async_trait]
impl RdpServerDisplayUpdates for Updates {
    async fn next_update(&mut self) -> anyhow::Result<Option<DisplayUpdate>> {
        if !std::mem::take(&mut self.stale) {
            self.size.changed().await?;
            self.stale = true;
            return Ok(Some(DisplayUpdate::Resize(*self.size.borrow_and_update())));
        }
        let DesktopSize { width, height } = *self.size.borrow();
        let side =
            |length| NonZeroU16::new(length).ok_or_else(|| anyhow::anyhow!("a desktop without a size"));
        let stride = usize::from(width) * COLOUR.len();
        Ok(Some(DisplayUpdate::Bitmap(BitmapUpdate {
            x: 0,
            y: 0,
            width: side(width)?,
            height: side(height)?,
            format: PixelFormat::RgbA32,
            data: COLOUR.repeat(usize::from(width) * usize::from(height)).into(),
            stride: NonZeroUsize::new(stride).ok_or_else(|| anyhow::anyhow!("a desktop without a size"))?,
        })))
    }
}

struct Factory(Arc<State>);

impl CliprdrServerFactory for Factory {}

impl ServerEventSender for Factory {
    fn set_sender(&mut self, sender: mpsc::UnboundedSender<ServerEvent>) {
        self.0.clipboard().events = Some(sender);
    }
}

impl CliprdrBackendFactory for Factory {
    fn build_cliprdr_backend(&self) -> Box<dyn CliprdrBackend> {
        Box::new(Backend(self.0.clone()))
    }
}

/// Takes all that a viewer's device copies, and gives all that is asked for.
struct Backend(Arc<State>);

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl_as_any!(Backend);

impl CliprdrBackend for Backend {
    fn temporary_directory(&self) -> &str {
        "/tmp"
    }

    fn client_capabilities(&self) -> ClipboardGeneralCapabilityFlags {
        ClipboardGeneralCapabilityFlags::USE_LONG_FORMAT_NAMES
            | ClipboardGeneralCapabilityFlags::STREAM_FILECLIP_ENABLED
            | ClipboardGeneralCapabilityFlags::FILECLIP_NO_FILE_PATHS
    }

    fn on_ready(&mut self) {}

    fn on_request_format_list(&mut self) {}

    fn on_process_negotiated_capabilities(&mut self, _: ClipboardGeneralCapabilityFlags) {}

    fn on_remote_copy(&mut self, formats: &[ClipboardFormat]) {
        let is_list = |format: &&ClipboardFormat| format.name() == Some(&ClipboardFormatName::FILE_LIST);
        let is_text = |format: &&ClipboardFormat| format.id() == ClipboardFormatId::CF_UNICODETEXT;
        if let Some(format) = formats.iter().find(is_list).or_else(|| formats.iter().find(is_text)) {
            self.0.clipboard().tell(ClipboardMessage::SendInitiatePaste(format.id()));
        }
    }

    fn on_format_data_request(&mut self, _: FormatDataRequest) {
        let clipboard = self.0.clipboard();
        let text = OwnedFormatDataResponse::new_unicode_string(&clipboard.text);
        clipboard.tell(ClipboardMessage::SendFormatData(text));
    }

    fn on_format_data_response(&mut self, response: FormatDataResponse<'_>) {
        self.0.clipboard().pasted_text = response.to_unicode_string().ok();
    }

    fn on_remote_file_list(&mut self, files: &[FileDescriptor], _: Option<u32>) {
        let mut clipboard = self.0.clipboard();
        clipboard.wanted = files.to_vec();
        clipboard.pasted_files.clear();
        clipboard.want_next();
    }

    fn on_file_contents_request(&mut self, request: FileContentsRequest) {
        let clipboard = self.0.clipboard();
        let file = usize::try_from(request.index).ok().and_then(|at| clipboard.files.get(at));
        let answer = match file {
            None => FileContentsResponse::new_error(request.stream_id),
            Some(file) if request.flags.contains(FileContentsFlags::SIZE) => {
                FileContentsResponse::new_size_response(request.stream_id, file.content.len() as u64)
            }
            Some(file) => {
                let from = file.content.get(request.position as usize..).unwrap_or_default();
                let part = &from[..from.len().min(request.requested_size as usize)];
                FileContentsResponse::new_data_response(request.stream_id, part.to_vec())
            }
        };
        clipboard.tell(ClipboardMessage::SendFileContentsResponse(answer));
    }

    fn on_file_contents_response(&mut self, response: FileContentsResponse<'_>) {
        let mut clipboard = self.0.clipboard();
        let Some(file) = clipboard.wanted.get(clipboard.pasted_files.len()) else { return };
        let name = file.name.clone();
        clipboard.pasted_files.push(File { name, content: response.data().to_vec() });
        clipboard.want_next();
    }

    fn on_lock(&mut self, _: LockDataId) {}

    fn on_unlock(&mut self, _: LockDataId) {}
}
