//! A stream with a write timeout: a client that does not read its responses loses its connection.
//!
//! Neither TCP nor hyper has such a timeout. A client that sends requests and never reads would
//! hold its connection forever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::metrics::HttpMetrics;

/// Longest time that a write may wait while the client reads nothing.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(10);

/// Lowest rate at which a client must read. A slower client is treated as not reading: otherwise it
/// could keep its connection by reading one byte every ten seconds. The slowest links that carry a
/// call are twice as fast.
const MIN_BYTES_PER_SECOND: u32 = 1_024;

/// A stream with a write timeout.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    stream: S,
    metrics: Arc<HttpMetrics>,
    write_time: Duration,
    /// Deadline of the waiting writes; `None` if none has waited recently. Each written byte
    /// postpones it, and so does the time between two writes.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Time of the last successful write, kept until the next write.
    written_at: Option<Instant>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, metrics: Arc<HttpMetrics>) -> WriteTimeout<S> {
        WriteTimeout {
            stream,
            metrics,
            write_time: WRITE_TIME,
            deadline: None,
            written_at: None,
        }
    }

    /// Returns the result of a write, or a timeout error if writes have waited for too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        // A write that has to wait takes `written_at`, so if it is still set, no write has waited
        // since.
        if let Some(written_at) = self.written_at.take() {
            self.put_off(written_at.elapsed());
        }
        match written {
            Poll::Ready(Ok(done)) => {
                let bytes = u32::try_from(bytes(&done)).unwrap_or(u32::MAX);
                self.put_off(Duration::from_secs(1) * bytes / MIN_BYTES_PER_SECOND);
                self.written_at = self.deadline.is_some().then(Instant::now);
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let until = Instant::now() + self.write_time;
                let deadline = self
                    .deadline
                    .get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(deadline.as_mut().poll(context));
                self.metrics.write_timeouts.fetch_add(1, Relaxed);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Postpones the deadline; removes it if it would then be later than the deadline of a new
    /// write.
    fn put_off(&mut self, by: Duration) {
        let Some(deadline) = &mut self.deadline else {
            return;
        };
        let later = deadline.deadline() + by;
        if later >= Instant::now() + self.write_time {
            self.deadline = None;
        } else {
            deadline.as_mut().reset(later);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.within(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.within(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    /// Creates a pipe of 1 kB: its writing end with the timeout `write_time`, its reading end, and
    /// the metrics.
    fn pipe(write_time: Duration) -> (WriteTimeout<DuplexStream>, DuplexStream, Arc<HttpMetrics>) {
        let (near, far) = duplex(1_024);
        let metrics = Arc::<HttpMetrics>::default();
        let mut near = WriteTimeout::new(near, metrics.clone());
        near.write_time = write_time;
        (near, far, metrics)
    }

    /// Reads `bytes` bytes at a time, with a pause after each read, until the other end closes.
    async fn read_slowly(mut far: DuplexStream, bytes: usize, pause: Duration) {
        let mut buffer = vec![0; bytes];
        while !matches!(far.read(&mut buffer).await, Ok(0) | Err(_)) {
            sleep(pause).await;
        }
    }

    #[tokio::test]
    async fn write_timeout_ends_a_connection_that_is_not_read() {
        let (mut near, _far, metrics) = pipe(Duration::from_millis(100));
        let error = near.write_all(&[7; 4_096]).await.expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(metrics.write_timeouts.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn write_timeout_ends_a_connection_that_is_read_byte_by_byte() {
        let (mut near, far, _) = pipe(Duration::from_millis(100));
        tokio::spawn(read_slowly(far, 1, Duration::from_millis(10)));
        let error = near.write_all(&[7; 4_096]).await.expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn write_timeout_spares_a_slow_reader() {
        let write_time = Duration::from_secs(2);
        let (mut near, far, metrics) = pipe(write_time);
        tokio::spawn(read_slowly(far, 1_024, Duration::from_millis(50)));
        let begun = Instant::now();
        near.write_all(&[7; 64 * 1_024]).await.expect("all of it");
        assert!(begun.elapsed() > write_time, "it was slow");
        assert_eq!(metrics.write_timeouts.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn write_timeout_does_not_count_the_time_between_two_writes() {
        let write_time = Duration::from_secs(2);
        let (mut near, mut far, _) = pipe(write_time);
        for _ in 0..2 {
            let write = async { near.write_all(&[7; 1_100]).await };
            let read = async {
                sleep(write_time / 2).await;
                far.read_exact(&mut [0; 1_100]).await
            };
            let done = tokio::try_join!(write, read);
            done.expect("in time");
            sleep(write_time).await;
        }
    }
}
