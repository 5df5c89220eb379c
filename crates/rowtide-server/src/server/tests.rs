use std::net::Ipv4Addr;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The longest any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn serve(address: impl Into<std::net::IpAddr>, token: Option<&str>) -> Serve {
    Serve {
        address: SocketAddr::new(address.into(), 0),
        token: token.map(Secret::new),
        pipeline: "shop".to_owned(),
        monitor: Monitor::default(),
    }
}

/// A server with a recorder of its own: there is one in a process, and several tests.
async fn started(token: Option<&str>) -> Server {
    let serve = serve(Ipv4Addr::LOCALHOST, token);
    let listener = listen(&serve).await.unwrap();
    Server::run(listener, serve, PrometheusBuilder::new().build_recorder().handle()).unwrap()
}

/// Sends `text` and reads until the server closes.
async fn said(server: &Server, text: &str) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // What is too large is not read to its end.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("the server closes the connection")
}

async fn get(server: &Server, path: &str, headers: &str) -> String {
    said(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn there_are_two_pages_and_only_get() {
    let server = started(None).await;
    let metrics = get(&server, "/metrics?x=y", "").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
    let health = get(&server, "/health", "").await;
    assert!(health.starts_with("HTTP/1.1 503 ") && health.contains("starting"), "{health}");
    assert!(health.contains("cache-control: no-store"), "{health}");
    assert!(get(&server, "/..", "").await.starts_with("HTTP/1.1 404 "));
    let posted = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let posted = said(&server, posted).await;
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET"), "{posted}");
}

#[tokio::test]
async fn every_page_asks_for_the_token() {
    let server = started(Some("0123456789abcdef")).await;
    for path in ["/metrics", "/health", "/nothing"] {
        let refused = get(&server, path, "").await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(!refused.contains("0123456789abcdef"), "{refused}");
    }
    let header = "Authorization: Bearer 0123456789abcdef\r\n";
    assert!(get(&server, "/metrics", header).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn another_name_for_this_machine_is_refused() {
    let server = started(None).await;
    let rebound = said(&server, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
}

#[tokio::test]
async fn large_requests_are_refused() {
    let server = started(None).await;
    let large = get(&server, "/metrics", &format!("X: {}\r\n", "x".repeat(LARGEST))).await;
    assert!(!large.contains(" 200 "), "{large}");
    let many = get(&server, "/metrics", &"X: y\r\n".repeat(HEADERS + 1)).await;
    assert!(!many.contains(" 200 "), "{many}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_cut_off_and_others_are_answered() {
    let server = started(None).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS + 4 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let answered = get(&server, "/metrics", "").await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

#[tokio::test]
async fn a_taken_port_is_said_with_what_to_do() {
    let server = started(None).await;
    let again = Serve { address: server.address(), ..serve(Ipv4Addr::LOCALHOST, None) };
    let error = listen(&again).await.unwrap_err();
    assert_eq!(error.kind(), rowtide_core::ErrorKind::Config);
    assert!(error.chain().contains(&server.address().to_string()), "{}", error.chain());
    assert!(error.hint().unwrap().contains("--metrics-listen"), "{:?}", error.hint());
}

#[tokio::test]
async fn nobody_else_is_let_in_without_a_token() {
    let open = serve(Ipv4Addr::UNSPECIFIED, None);
    assert!(listen(&open).await.unwrap_err().hint().unwrap().contains("metrics.token"));
    assert!(listen(&serve(Ipv4Addr::UNSPECIFIED, Some("0123456789abcdef"))).await.is_ok());
}
