//! A small server on hyper: `peer ADDRESS WORKERS DIRECTORY [CERTIFICATE KEY]`. The files are in
//! memory from the start. `compare` writes the manifest beside it and builds it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Files = Arc<HashMap<String, Bytes>>;
type Body = BoxBody<Bytes, hyper::Error>;
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn read_files(dir: &Path, prefix: &str, files: &mut HashMap<String, Bytes>) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}/{name}");
        if path.is_dir() {
            read_files(&path, &name, files)?;
        } else {
            files.insert(name, fs::read(&path)?.into());
        }
    }
    Ok(())
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

async fn answer(request: Request<Incoming>, files: Files) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path();
    let (kind, body) = match path {
        "/status" => ("application/json", full(format!("{{\"status\":\"{}\"}}", "ok").into())),
        "/echo" => ("application/octet-stream", request.into_body().boxed()),
        "/discard" => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                frame?;
            }
            ("text/plain", full(Bytes::new()))
        }
        _ => match files.get(path) {
            Some(bytes) => ("text/plain", full(bytes.clone())),
            None => {
                let mut response = Response::new(full(Bytes::new()));
                *response.status_mut() = hyper::StatusCode::NOT_FOUND;
                return Ok(response);
            }
        },
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, files: Files) {
    let service = service_fn(move |request| answer(request, Arc::clone(&files)));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(1_000);
    // The end of a connection is of no interest.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn run(arguments: &[String]) -> Outcome<()> {
    let [address, _, dir, pair @ ..] = arguments else {
        return Err("peer ADDRESS WORKERS DIRECTORY [CERTIFICATE KEY]".into());
    };
    let mut files = HashMap::new();
    read_files(Path::new(dir), "", &mut files)?;
    let files = Arc::new(files);
    let acceptor = match pair {
        [certificate, key] => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_file(key)?;
            let mut config = ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            Some(TlsAcceptor::from(Arc::new(config)))
        }
        _ => None,
    };
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (files, acceptor) = (Arc::clone(&files), acceptor.clone());
        tokio::spawn(async move {
            match acceptor {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, files).await;
                    }
                }
                None => serve(stream, files).await,
            }
        });
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let workers = arguments.get(1).map_or(Ok(1), |text| text.parse())?;
    let mut builder = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(workers).enable_io().build()?.block_on(run(&arguments))
}
