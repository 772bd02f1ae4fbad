//! One connection: its requests one after the other, how long each may take, and an end that loses no answer.

use super::{Service, door::Door, progress::Progress, seats::Seat};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};

/// Request line and headers at most. Ours; API Gateway takes 10 KB of headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What hyper buffers of a connection at most.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long, and for how many bytes, a client that was refused may go on sending: closed before it has finished, its
/// connection would be reset, and the answer lost with it.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Serves one connection on its seat, until it or the server ends.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    seat: Seat,
    door: Arc<Door<S>>,
    mut stopping: watch::Receiver<()>,
) {
    // Best effort: it makes small answers faster and nothing else.
    let _ = stream.set_nodelay(true);
    let progress = Arc::clone(&seat.progress);
    let (idle_timeout, read_timeout) = (door.idle_timeout(), door.read_timeout());
    let watched =
        WatchedStream { stream, progress: Arc::clone(&progress), stall: read_timeout, stalled: None };
    let answering = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let (door, progress) = (Arc::clone(&door), Arc::clone(&answering));
        Box::pin(async move { Ok::<_, Infallible>(door.answer(request, &progress).await) })
    });
    let mut connection = http1::Builder::new()
        // Its one timeout is for idling and for a head alike: the time is kept here.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(watched), service);
    let mut told = false;
    let mut late = pin!(sleep_until(Instant::now() + idle_timeout));
    let served = loop {
        let served = poll_fn(|context| {
            if let Poll::Ready(served) = connection.poll_without_shutdown(context) {
                return Poll::Ready(Some(served));
            }
            let Some(deadline) = progress.deadline(idle_timeout, read_timeout) else {
                return Poll::Pending;
            };
            if late.deadline() != deadline {
                late.as_mut().reset(deadline);
            }
            late.as_mut().poll(context).map(|()| None)
        });
        tokio::select! {
            biased;
            // First: a connection that ended by itself is no longer to be told.
            served = served => match served {
                Some(served) => break served,
                None => return,
            },
            () = progress.to_go() => return,
            _ = stopping.changed(), if !told => {
                told = true;
                if !progress.begun.load(Ordering::Relaxed) || progress.is_streaming() {
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let refused = match served {
        Ok(()) => progress.unread.load(Ordering::Relaxed),
        Err(error) => {
            tracing::debug!(%error, "a connection ended with an error");
            error.is_parse()
        }
    };
    linger(connection.into_parts().io.into_inner().stream, refused).await;
}

/// Closes a connection so that the answer survives: what the client has sent is read first, and, where it was refused,
/// what it is still sending.
async fn linger(mut stream: TcpStream, refused: bool) {
    let drained = async {
        poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && refused => {
                    stream.readable().await?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    // The connection ends here in any case.
    let _: Result<io::Result<()>, _> = timeout(LINGER_MAX, drained).await;
}

/// A stream that notes when a request begins, and fails where the peer takes nothing for too long.
struct WatchedStream {
    stream: TcpStream,
    progress: Arc<Progress>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.arrived();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.progress.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
