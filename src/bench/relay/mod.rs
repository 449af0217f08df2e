//! A bad path between one client and a server: a UDP relay that sends media through an
//! [`Emulator`].
//!
//! Only media towards the server is impaired (RTP, by the ranges of RFC 7983, and not RTCP): a lost
//! handshake message would measure the retransmission of DTLS instead. To put the relay on the
//! path, the offer has to name its [`back`](Relay::back) and the answer its [`front`](Relay::front)
//! as the only candidate: [`only_candidate`].

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mixer::Time;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

pub mod emulator;

pub use emulator::{Emulator, Impairment, Passage};

/// A relay between one client and a server. It ends when it is dropped.
pub struct Relay {
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    addresses: [SocketAddr; 2],
    way: Way,
    tasks: JoinSet<()>,
}

/// The packets on their way to the server, each with the socket that will send it.
type Way = Arc<Mutex<Emulator<(Arc<UdpSocket>, Vec<u8>)>>>;

impl Relay {
    /// Binds the sockets towards the client and the server. Nothing is relayed before
    /// [`Relay::lead_to`].
    ///
    /// - `ip`: an address of this machine that the client and the server can reach.
    /// - `seed`: makes loss and jitter repeatable.
    ///
    /// # Errors
    /// The system's error if the address has no free port.
    pub async fn bind(ip: IpAddr, way_in: Impairment, seed: u64) -> io::Result<Relay> {
        let front = UdpSocket::bind((ip, 0)).await?;
        let back = UdpSocket::bind((ip, 0)).await?;
        Ok(Relay {
            addresses: [front.local_addr()?, back.local_addr()?],
            front: Arc::new(front),
            back: Arc::new(back),
            way: Arc::new(Mutex::new(Emulator::new(way_in, seed))),
            tasks: JoinSet::new(),
        })
    }

    /// The address to which the client sends.
    pub fn front(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The address to which the server sends.
    pub fn back(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Starts to relay between the client and `server`.
    pub fn lead_to(&mut self, server: SocketAddr) {
        let forward = Forward {
            front: Arc::clone(&self.front),
            first_back: Some(Arc::clone(&self.back)),
            backs: HashMap::new(),
            server,
            way: Arc::clone(&self.way),
            origin: Instant::now(),
            tasks: JoinSet::new(),
        };
        self.tasks.spawn(forward.run());
    }

    /// Changes the impairment of media towards the server from now on.
    pub fn impair(&self, way_in: Impairment) {
        lock(&self.way).impair(way_in);
    }

    /// Returns the counters of media towards the server so far.
    pub fn passage(&self) -> Passage {
        lock(&self.way).passage()
    }
}

/// The task that relays from the client to the server.
struct Forward {
    front: Arc<UdpSocket>,
    /// The socket that the offer named, until the client's first address takes it.
    first_back: Option<Arc<UdpSocket>>,
    /// One socket towards the server for each address that the client uses: a server must be able
    /// to tell them apart.
    backs: HashMap<SocketAddr, Arc<UdpSocket>>,
    server: SocketAddr,
    way: Way,
    origin: Instant,
    /// The tasks that relay from the server to the client, one for each of the client's addresses.
    tasks: JoinSet<()>,
}

impl Forward {
    async fn run(mut self) {
        let mut datagram = [0; LARGEST_BYTES];
        loop {
            let due = lock(&self.way).next_due();
            tokio::select! {
                received = self.front.recv_from(&mut datagram) => match received {
                    Ok((len, client)) => self.take(client, &datagram[..len]).await,
                    // The system reports that an earlier datagram was refused; the next may be
                    // accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(_) => return,
                },
                () = self.until(due) => {}
            }
            self.give().await;
        }
    }

    async fn take(&mut self, client: SocketAddr, datagram: &[u8]) {
        let Some(back) = self.back_of(client).await else {
            return;
        };
        if is_media(datagram) {
            let now = self.now();
            lock(&self.way).take(now, (back, datagram.to_vec()));
        } else {
            // A datagram that is not accepted now is lost, for which the relayed protocols are
            // prepared.
            let _ = back.send_to(datagram, self.server).await;
        }
    }

    /// Sends the packets whose delay is over.
    async fn give(&self) {
        loop {
            let now = self.now();
            let next = lock(&self.way).give(now);
            let Some((back, datagram)) = next else {
                return;
            };
            let _ = back.send_to(&datagram, self.server).await;
        }
    }

    async fn back_of(&mut self, client: SocketAddr) -> Option<Arc<UdpSocket>> {
        if let Some(back) = self.backs.get(&client) {
            return Some(Arc::clone(back));
        }
        if self.backs.len() >= MOST_ADDRESSES {
            return None;
        }
        let back = match self.first_back.take() {
            Some(back) => back,
            None => {
                let ip = self.front.local_addr().ok()?.ip();
                Arc::new(UdpSocket::bind((ip, 0)).await.ok()?)
            }
        };
        let way_out = return_way(Arc::clone(&back), Arc::clone(&self.front), client);
        self.tasks.spawn(way_out);
        self.backs.insert(client, Arc::clone(&back));
        Some(back)
    }

    async fn until(&self, due: Option<Time>) {
        match due {
            Some(due) => tokio::time::sleep(due.since(self.now())).await,
            None => std::future::pending().await,
        }
    }

    fn now(&self) -> Time {
        Time::from_us(self.origin.elapsed().as_micros() as u64)
    }
}

async fn return_way(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr) {
    let mut datagram = [0; LARGEST_BYTES];
    loop {
        match back.recv_from(&mut datagram).await {
            Ok((len, _)) => {
                let _ = front.send_to(&datagram[..len], client).await;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

fn is_media(datagram: &[u8]) -> bool {
    datagram.len() > 12 && (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1])
}

fn lock<T>(way: &Mutex<T>) -> MutexGuard<'_, T> {
    // The emulator is consistent between any two calls.
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the session description with `address` as the only candidate of every media section that
/// had candidates.
pub fn only_candidate(sdp: &str, address: SocketAddr) -> String {
    let candidate = format!(
        "a=candidate:1 1 udp 2130706431 {} {} typ host\r\n",
        address.ip(),
        address.port()
    );
    let mut is_named = false;
    let mut out = String::with_capacity(sdp.len());
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            is_named = false;
        }
        if !line.starts_with("a=candidate:") {
            out.push_str(line);
            out.push_str("\r\n");
        } else if !std::mem::replace(&mut is_named, true) {
            out.push_str(&candidate);
        }
    }
    out
}

/// Returns the first UDP address among a description's candidates that can be reached from `own`.
pub fn first_address(sdp: &str, own: IpAddr) -> Option<SocketAddr> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .find_map(|candidate| {
            let mut fields = candidate.split_whitespace().skip(2);
            let is_udp = fields.next()?.eq_ignore_ascii_case("udp");
            let ip: IpAddr = fields.nth(1)?.parse().ok()?;
            let port = fields.next()?.parse().ok()?;
            let is_near = ip.is_ipv4() == own.is_ipv4() && ip.is_loopback() == own.is_loopback();
            (is_udp && is_near).then_some(SocketAddr::new(ip, port))
        })
}

/// The largest datagram that is relayed: no path carries larger ones without fragmentation.
const LARGEST_BYTES: usize = 2_048;

/// The most addresses that one client may use.
const MOST_ADDRESSES: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SDP: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive\r\n\
        a=candidate:2 1 udp 2 10.0.0.1 7882 typ host\r\na=mid:0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";

    #[test]
    fn rewritten_sdp_names_the_relay_as_the_only_candidate() {
        let relay = SocketAddr::from(([10, 0, 0, 9], 5_000));
        let sdp = only_candidate(SDP, relay);
        assert_eq!(sdp.matches("a=candidate:").count(), 1);
        assert!(sdp.contains("udp 2130706431 10.0.0.9 5000 typ host\r\na=mid:0"));
    }

    #[test]
    fn relay_finds_a_reachable_address_of_the_server() {
        let found = first_address(SDP, IpAddr::from([10, 0, 0, 9]));
        assert_eq!(found, Some(SocketAddr::from(([10, 0, 0, 1], 7_882))));
        assert_eq!(first_address(SDP, IpAddr::from([127, 0, 0, 1])), None);
        assert_eq!(
            first_address("a=candidate:1 1 udp", found.unwrap().ip()),
            None
        );
    }

    #[tokio::test]
    async fn relay_drops_media_datagrams_but_no_connectivity_checks() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let all_lost = Impairment {
            loss: 1.0,
            ..Impairment::default()
        };
        let mut relay = Relay::bind(loopback, all_lost, 1).await.unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        relay.lead_to(server.local_addr().unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(relay.front()).await.unwrap();
        let media = [0x80; 40];
        let check = [0; 20];
        client.send(&media).await.unwrap();
        client.send(&check).await.unwrap();
        let mut datagram = [0; 100];
        let (len, from) = server.recv_from(&mut datagram).await.unwrap();
        assert_eq!((&datagram[..len], from), (&check[..], relay.back()));
        server.send_to(&media, from).await.unwrap();
        assert_eq!(client.recv(&mut datagram).await.unwrap(), media.len());
        relay.impair(Impairment {
            jitter: Duration::from_millis(5),
            ..Impairment::default()
        });
        client.send(&media).await.unwrap();
        assert_eq!(server.recv(&mut datagram).await.unwrap(), media.len());
        let passage = relay.passage();
        assert_eq!((passage.offered, passage.lost), (2, 1));
    }
}
