//! Debian's webrtcbin of GStreamer in a push-to-talk room: it joins by one `POST`, takes the floor
//! over HTTP, is heard while it holds the floor, in Opus or in G.711, and leaves by `DELETE`.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod channel;
    pub mod measure;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use common::channel::Channel;
use common::tools;
use serde_json::Value;

/// The client's tone, which is on no frequency grid and is not a tone of the headless clients.
const HZ: f64 = 925.3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_client_with_the_floor_is_heard_in_opus_and_g711() {
    let radio = Channel::start("gstreamer").await;
    for (codec, name) in [("opus", "Gst"), ("pcmu", "Phone")] {
        let began = radio.heard_samples();
        let report = client(&radio, name, ["--floor", "--codec", codec]).await;
        println!("{codec}: {report}");
        assert_eq!(report["ok"], true, "{report:#}");
        assert_eq!(
            (&report["post_status"], &report["delete_status"]),
            (&201.into(), &200.into())
        );
        assert_eq!(
            (&report["floor_status"], &report["release_status"]),
            (&200.into(), &204.into())
        );
        assert_eq!(report["floor"]["state"], "granted");
        let id = report["participant_id"].as_str().unwrap();
        radio.assert_one_burst_since(began, HZ, 3.0, id).await;
    }
    radio.stop().await;
}

/// The client never requests the floor, so nothing that it sends is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_client_without_the_floor_is_not_heard() {
    let radio = Channel::start("gstreamer-unasked").await;
    let report = client(&radio, "Gst", ["--seconds", "2"]).await;
    assert_eq!(report["ok"], true, "{report:#}");
    radio.assert_silence(HZ);
    radio.stop().await;
}

async fn client<const N: usize>(radio: &Channel, name: &str, options: [&str; N]) -> Value {
    let mut arguments = vec![
        format!("{}?name={name}", radio.url()),
        format!("--freq={HZ}"),
    ];
    arguments.extend(options.map(str::to_owned));
    let report = tokio::task::spawn_blocking(move || tools::gstreamer(arguments));
    report.await.unwrap()
}
