//! A machine that prints on its viewer's printers ([MS-RDPEFS], [MS-RDPEPC]), and shows no picture. It is made of
//! IronRDP's acceptor, as its server takes no channel of ours.

use std::io::{self, ErrorKind};

use anyhow::{Context, bail, ensure};
use ironrdp_acceptor::{Acceptor, BeginResult, accept_begin, accept_finalize};
use ironrdp_core::{ReadCursor, decode, impl_as_any};
use ironrdp_pdu::gcc::ChannelName;
use ironrdp_pdu::mcs::McsMessage;
use ironrdp_pdu::nego::SecurityProtocol;
use ironrdp_pdu::rdp::capability_sets::{
    Bitmap, BitmapDrawingFlags, CapabilitySet, General, GeneralExtraFlags,
};
use ironrdp_pdu::x224::X224;
use ironrdp_pdu::{Action, PduResult, pdu_other_err};
use ironrdp_server::DesktopSize;
use ironrdp_server::tokio_rustls::TlsAcceptor;
use ironrdp_svc::{SvcMessage, SvcProcessor, SvcServerProcessor, server_encode_svc_messages};
use ironrdp_tokio::{FramedWrite, TokioFramed};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const SIZE: DesktopSize = DesktopSize { width: 800, height: 600 };

/// [MS-RDPEFS] section 2.2.1.1: what each packet begins with, and then which one it is.
const CORE: u16 = 0x4472;
const SERVER_ANNOUNCE: u16 = 0x496e;
/// The viewer's answer to an announcement, too.
const CLIENT_ID_CONFIRM: u16 = 0x4343;
const CLIENT_NAME: u16 = 0x434e;
const SERVER_CAPABILITY: u16 = 0x5350;
const CLIENT_CAPABILITY: u16 = 0x4350;
const USER_LOGGED_ON: u16 = 0x554c;
const DEVICE_LIST: u16 = 0x4441;
const DEVICE_REPLY: u16 = 0x6472;
const IO_REQUEST: u16 = 0x4952;
const IO_COMPLETION: u16 = 0x4943;

/// 1.12: the lower half is the major one.
const VERSION: u32 = 12 << 16 | 1;
const CLIENT_ID: u32 = 1;
/// Section 2.2.1.3.
const PRINTER: u32 = 4;
const SUCCESS: u32 = 0;

/// Section 2.2.2.7: how many sets. Each begins with its kind, length and version.
const SETS: u32 = 2;
/// Section 2.2.2.7.1: requests of any kind, and it is told that somebody logged on.
const GENERAL_SET: [u32; 11] = [44 << 16 | 1, 2, 0, 0, VERSION, 0xffff, 0, 7, 0, 0, 0];
/// Section 2.2.2.7.2.
const PRINTER_SET: [u32; 2] = [8 << 16 | 2, 1];

/// A document goes in pieces of this length.
const PIECE_BYTES: usize = 64 * 1024;

/// Shows each viewer, one after the other, a machine that tells what `printers` it finds, each with its `name` and its
/// `driver`, and prints the `documents`.
pub async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    printers: watch::Sender<Vec<Value>>,
    mut documents: mpsc::UnboundedReceiver<Vec<u8>>,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let redirection = Redirection { printers: printers.clone(), printer: None, job: None };
        if let Err(error) = run(stream, &tls, redirection, &mut documents).await {
            eprintln!("{error:#}");
        }
        printers.send_replace(Vec::new());
    }
}

async fn run(
    stream: TcpStream,
    tls: &TlsAcceptor,
    redirection: Redirection,
    documents: &mut mpsc::UnboundedReceiver<Vec<u8>>,
) -> anyhow::Result<()> {
    let mut acceptor = Acceptor::new(SecurityProtocol::SSL, SIZE, capabilities(), None);
    acceptor.attach_static_channel(redirection);
    let begun = accept_begin(TokioFramed::new(stream), &mut acceptor).await?;
    let BeginResult::ShouldUpgrade(stream) = begun else { bail!("a viewer without TLS") };
    let stream = tls.accept(stream).await?;
    acceptor.mark_security_upgrade_as_done();
    let (mut framed, mut accepted) = accept_finalize(TokioFramed::new(stream), &mut acceptor).await?;

    let id = accepted.static_channels.get_channel_id_by_type::<Redirection>();
    let id = id.context("a viewer that redirects no devices")?;
    let channel = accepted.static_channels.get_by_type_mut::<Redirection>().context("no channel")?;
    let mut messages = channel.start()?;
    loop {
        let encoded = server_encode_svc_messages(messages, id, accepted.user_channel_id)?;
        framed.write_all(&encoded).await?;
        let redirection: &mut Redirection = channel.channel_processor_downcast_mut().context("no channel")?;
        messages = tokio::select! {
            Some(document) = documents.recv(), if redirection.is_free() => redirection.print(document),
            read = framed.read_pdu() => match read {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok((Action::FastPath, _)) => Vec::new(),
                Ok((Action::X224, frame)) => match decode::<X224<McsMessage<'_>>>(&frame)?.0 {
                    McsMessage::SendDataRequest(data) if data.channel_id == id => channel.process(&data.user_data)?,
                    McsMessage::DisconnectProviderUltimatum(_) => return Ok(()),
                    _ => Vec::new(),
                },
            },
        };
    }
}

/// What a viewer cannot do without.
fn capabilities() -> Vec<CapabilitySet> {
    let general = General { extra_flags: GeneralExtraFlags::FASTPATH_OUTPUT_SUPPORTED, ..General::default() };
    let bitmap = Bitmap {
        pref_bits_per_pix: 32,
        desktop_width: SIZE.width,
        desktop_height: SIZE.height,
        desktop_resize_flag: false,
        drawing_flags: BitmapDrawingFlags::empty(),
    };
    vec![CapabilitySet::General(general), CapabilitySet::Bitmap(bitmap)]
}

/// The channel by which a viewer's devices are the machine's.
#[derive(Debug)]
struct Redirection {
    printers: watch::Sender<Vec<Value>>,
    /// Number of the one that prints.
    printer: Option<u32>,
    job: Option<Job>,
}

/// A document that is being printed.
#[derive(Debug)]
struct Job {
    document: Vec<u8>,
    written: usize,
    printer: u32,
    /// Its number at the printer.
    file: u32,
    /// Number of the last request, which is not answered yet.
    completion: u32,
    request: Request,
}

/// Section 2.2.1.4, with their numbers there.
#[derive(Debug, Clone, Copy)]
enum Request {
    Create = 0,
    Close = 2,
    Write = 4,
}

impl_as_any!(Redirection);

impl SvcServerProcessor for Redirection {}

impl SvcProcessor for Redirection {
    fn channel_name(&self) -> ChannelName {
        ChannelName::from_static(b"rdpdr\0\0\0")
    }

    fn start(&mut self) -> PduResult<Vec<SvcMessage>> {
        Ok(vec![packet(SERVER_ANNOUNCE, &bytes(&[VERSION, CLIENT_ID]))])
    }

    fn process(&mut self, payload: &[u8]) -> PduResult<Vec<SvcMessage>> {
        self.take(payload).map_err(|error| pdu_other_err!("rdpdr", source: io::Error::other(error)))
    }
}

impl Redirection {
    fn is_free(&self) -> bool {
        self.printer.is_some() && self.job.is_none()
    }

    fn take(&mut self, payload: &[u8]) -> anyhow::Result<Vec<SvcMessage>> {
        let mut payload = ReadCursor::new(payload);
        let [component, id] = [payload.try_read_u16()?, payload.try_read_u16()?];
        ensure!(component == CORE, "a packet of {component:#06x}");
        match id {
            // Its name follows.
            CLIENT_ID_CONFIRM => Ok(Vec::new()),
            CLIENT_NAME => Ok(vec![
                packet(SERVER_CAPABILITY, &bytes(&[&[SETS], &GENERAL_SET[..], &PRINTER_SET].concat())),
                packet(CLIENT_ID_CONFIRM, &bytes(&[VERSION, CLIENT_ID])),
            ]),
            CLIENT_CAPABILITY => Ok(vec![packet(USER_LOGGED_ON, &[])]),
            DEVICE_LIST => self.found(payload),
            IO_COMPLETION => self.answered(payload),
            _ => bail!("a packet {id:#06x}"),
        }
    }

    /// Section 2.2.2.9.
    fn found(&mut self, mut list: ReadCursor<'_>) -> anyhow::Result<Vec<SvcMessage>> {
        let mut replies = Vec::new();
        let [count] = numbers(&mut list)?;
        for _ in 0..count {
            // The two in the middle are its name for DOS.
            let [kind, device, _, _, length] = numbers(&mut list)?;
            let described = part(&mut list, length)?;
            ensure!(kind == PRINTER, "a device of kind {kind}");
            let shown = shown(described)?;
            self.printers.send_modify(|printers| printers.push(shown));
            self.printer.get_or_insert(device);
            replies.push(packet(DEVICE_REPLY, &bytes(&[device, SUCCESS])));
        }
        Ok(replies)
    }

    fn print(&mut self, document: Vec<u8>) -> Vec<SvcMessage> {
        let Some(printer) = self.printer else { return Vec::new() };
        let job = Job { document, written: 0, printer, file: 0, completion: 0, request: Request::Create };
        vec![self.job.insert(job).ask()]
    }

    /// Section 2.2.1.5.
    fn answered(&mut self, mut answer: ReadCursor<'_>) -> anyhow::Result<Vec<SvcMessage>> {
        let job = self.job.as_mut().context("an answer to nothing")?;
        let [printer, completion, status] = numbers(&mut answer)?;
        ensure!((printer, completion) == (job.printer, job.completion), "an answer to something else");
        ensure!(status == SUCCESS, "status {status:#010x} as an answer to {:?}", job.request);
        match job.request {
            Request::Create => [job.file] = numbers(&mut answer)?,
            Request::Write => {
                let [length] = numbers(&mut answer)?;
                ensure!(length as usize == job.piece().len(), "{length} bytes of a piece were written");
                job.written += job.piece().len();
            }
            Request::Close => {
                self.job = None;
                return Ok(Vec::new());
            }
        }
        job.request = if job.piece().is_empty() { Request::Close } else { Request::Write };
        job.completion += 1;
        Ok(vec![job.ask()])
    }
}

impl Job {
    /// What is to be written next.
    fn piece(&self) -> &[u8] {
        let rest = &self.document[self.written..];
        &rest[..rest.len().min(PIECE_BYTES)]
    }

    /// [MS-RDPEPC] sections 2.2.2.7, 2.2.2.9 and 2.2.2.11.
    fn ask(&self) -> SvcMessage {
        let head = [self.printer, self.file, self.completion, self.request as u32, 0];
        let (body, piece) = match self.request {
            // As Windows does it, section 4.1.7 there; a printer has no path.
            Request::Create => ([0x0012_019f, 0, 0, 0, 3, 1, 0x40, 0], &[][..]),
            Request::Write => {
                ([self.piece().len() as u32, self.written as u32, 0, 0, 0, 0, 0, 0], self.piece())
            }
            Request::Close => ([0; 8], &[][..]),
        };
        packet(IO_REQUEST, &[&bytes(&head), &bytes(&body), piece].concat())
    }
}

/// [MS-RDPEPC] section 2.2.2.1: lengths, and names in UTF-16.
fn shown(described: &[u8]) -> anyhow::Result<Value> {
    let mut described = ReadCursor::new(described);
    let [_flags, _code_page, plug_and_play, driver, name, _cached] = numbers(&mut described)?;
    let mut text = |length| {
        let units =
            part(&mut described, length)?.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
        anyhow::Ok(String::from_utf16(&units.collect::<Vec<_>>())?.trim_end_matches('\0').to_owned())
    };
    text(plug_and_play)?;
    let [driver, name] = [text(driver)?, text(name)?];
    Ok(json!({ "name": name, "driver": driver }))
}

fn packet(id: u16, body: &[u8]) -> SvcMessage {
    [&CORE.to_le_bytes(), &id.to_le_bytes(), body].concat().into()
}

fn bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn numbers<const N: usize>(from: &mut ReadCursor<'_>) -> anyhow::Result<[u32; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = from.try_read_u32()?;
    }
    Ok(numbers)
}

fn part<'a>(from: &mut ReadCursor<'a>, length: u32) -> anyhow::Result<&'a [u8]> {
    ensure!(from.len() >= length as usize, "{length} bytes, of which {} are there", from.len());
    Ok(from.read_slice(length as usize))
}
