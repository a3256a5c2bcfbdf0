//! Settings from all places, as the pure function reads them.

use driftmerge::config::{
    Config, ConfigError, Latency, Layer, Raw, Route, SETTINGS, dotenv_layer, environment_layer, flags_layer, resolve,
    toml_layer,
};
use driftmerge_dsp::Mode;
use std::ffi::OsString;
use std::path::Path;

fn flag(key: &'static str, text: &str) -> Layer {
    flags_layer([(key, Some(Raw::Text(text.into())))])
}

fn environment(pairs: &[(&str, &str)]) -> Layer {
    let get = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
    environment_layer(get).expect("UTF-8")
}

fn dotenv(text: &str) -> Layer {
    dotenv_layer(Path::new(".env"), text).expect("a good file")
}

fn toml(text: &str) -> Layer {
    toml_layer(Path::new("config.toml"), text).expect("a good file")
}

fn config(layers: &[Layer]) -> Config {
    resolve(layers).expect("good settings")
}

fn error<T>(result: Result<T, ConfigError>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn defaults_are_those_of_the_ports_and_satisfy_the_rules_at_every_rate() {
    let usual = config(&[]);
    let ports = driftmerge_dsp::Controls::default();
    assert_eq!(usual.controls(), ports);
    assert_eq!((usual.route, usual.latency), (Route::Direct, Latency::Auto));
    assert_eq!(usual.max_size_frames(), 131_072, "the power of two above 2 x 36000");
    for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
        for lag_limit in ["1", "750", "1000"] {
            let layers = [flag("microphones", "a,b"), flag("rate", &rate.to_string()), flag("lag_limit", lag_limit)];
            let config = config(&layers);
            config.check().unwrap_or_else(|e| panic!("{rate} Hz, {lag_limit} ms: {e}"));
        }
    }
}

#[test]
fn flags_win_over_the_environment_over_dotenv_over_the_file() {
    let layers = [
        flag("lag_limit", "100"),
        environment(&[("LAG_LIMIT_MS", "200"), ("RECORD_RATE", "16000")]),
        dotenv("LAG_LIMIT_MS=300\nRECORD_RATE=22050\nCORRELATION_THRESHOLD=0.03\n"),
        toml("lag_limit = 400\nrate = 32000\nthreshold = 0.04\nhalf_life = 4\n"),
    ];
    for (weakest, expected) in [(0, 100.0), (1, 200.0), (2, 300.0), (3, 400.0), (4, 750.0)] {
        assert_eq!(config(&layers[weakest.min(4)..]).lag_limit_ms, expected);
    }
    let all = config(&layers);
    assert_eq!((all.rate_hz, all.threshold, all.half_life_s), (16_000, 0.03, 4.0));
}

#[test]
fn every_setting_can_be_given_in_every_place_and_only_under_its_names() {
    for setting in SETTINGS {
        let value = match setting.key {
            "microphones" => "a,b",
            "route" => "loopback",
            "mode" => "average",
            "threshold" => "0.5",
            "default_source" | "default_sink" | "post_filter" => "yes",
            "echo_mics" | "echo_rtp" => "7",
            "chunk" | "rate" | "max_size" | "play_buffer" => "9000",
            _ => "77",
        };
        let places = [
            flag(setting.key, value),
            environment(&[(setting.variable, value)]),
            dotenv(&format!("{}={value}", setting.variable)),
            toml(&format!("{} = \"{value}\"", setting.key)),
        ];
        for layer in places {
            assert_eq!(layer[setting.key].raw, Raw::Text(value.into()), "{}", setting.key);
            resolve(&[layer]).unwrap_or_else(|e| panic!("{}: {e}", setting.key));
        }
        let flags = format!("{}", flag(setting.key, value)[setting.key].origin);
        assert_eq!(flags, format!("from flag {}", setting.flag));
    }
}

#[test]
fn names_of_microphones_may_be_listed_in_each_way_people_write_lists() {
    for text in ["a b,c", "a b, c", "[\"a b\", 'c']", " 'a b' ,\"c\","] {
        assert_eq!(config(&[environment(&[("RECORD_DEVICE_NAMES", text)])]).microphones, ["a b", "c"], "{text}");
    }
    assert_eq!(config(&[dotenv("RECORD_DEVICE_NAMES=\"x y  z\"")]).microphones, ["x", "y", "z"]);
    assert_eq!(config(&[toml("microphones = [\"a, b\", \"c\"]")]).microphones, ["a, b", "c"]);
}

#[test]
fn dotenv_takes_quotes_comments_exports_and_leaves_other_names_alone() {
    let layer = dotenv(
        "# settings\n\nexport RECORD_RATE=16000\nLAG_LIMIT_MS = '80' # near\r\nPATH=/bin\nPLAY_DEVICE_NAME=\"my # mic\"\nMAX_SIZE=\n",
    );
    let config = config(std::slice::from_ref(&layer));
    assert_eq!((config.rate_hz, config.lag_limit_ms, config.play_device.as_str()), (16_000, 80.0, "my # mic"));
    assert_eq!(layer.len(), 3);
    let text = error(dotenv_layer(Path::new(".env"), "RECORD_RATE=16000\nhello\n"));
    assert!(text.contains(".env line 2") && text.contains("hello"), "{text}");
}

#[test]
fn a_comment_may_follow_a_tab_and_quoted_names_are_a_list() {
    let text = "RECORD_RATE=16000\t# telephone\nRECORD_DEVICE_NAMES='a','b c' # two\nPLAY_DEVICE_NAME=it's#1 # mine\n";
    let config = config(&[dotenv(text)]);
    assert_eq!((config.rate_hz, config.play_device.as_str()), (16_000, "it's#1"));
    assert_eq!(config.microphones, ["a", "b c"]);
}

#[test]
fn modes_and_latencies_have_names_and_numbers() {
    for (text, mode) in [
        ("average", Mode::Average),
        ("Weighted", Mode::Merge),
        ("banded", Mode::Merge),
        ("3", Mode::OnlyA),
        ("only-b", Mode::OnlyB),
    ] {
        assert_eq!(config(&[environment(&[("DRIFTMERGE_MODE", text)])]).mode, mode);
    }
    assert_eq!(config(&[toml("latency = 80.5")]).latency, Latency::Fixed(80.5));
    assert_eq!(config(&[toml("latency = \"auto\"")]).latency, Latency::Auto);
    for (wrong, says) in
        [("latency = 4", "5 to 1000 ms, or `auto`"), ("mode = \"loud\"", "weighted"), ("mode = 5", "weighted")]
    {
        let text = error(resolve(&[toml(wrong)]));
        assert!(text.contains("config.toml line 1") && text.contains(says), "{text}");
    }
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    for wrong in ["nan", "inf", "-1", "", "1e400", "48000.5", "0x10", "4 8000"] {
        if !wrong.is_empty() {
            let text = error(resolve(&[environment(&[("RECORD_RATE", wrong)])]));
            assert!(text.contains("RECORD_RATE") && text.contains("8000 to 192000 Hz"), "{text}");
        }
        let text = error(resolve(&[flag("rate", wrong)]));
        assert!(text.contains("--rate"), "{text}");
    }
    let text = error(resolve(&[environment(&[("CORRELATION_THRESHOLD", "nan")])]));
    assert!(text.contains("0 to 1"), "{text}");
}

#[test]
fn the_table_of_the_handbook_is_the_table_of_the_program() {
    let page = include_str!("../../loader/docs/settings.md");
    for setting in SETTINGS {
        let start = format!("| `{}` | `{}` | `{}` | ", setting.variable, setting.flag, setting.key);
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("settings.md has no row that starts with: {start}"));
        let default = row[start.len()..].split(" | ").next().unwrap_or_default();
        if !setting.default.is_empty() {
            assert_eq!(default, setting.default, "default of {} in settings.md", setting.key);
        }
    }
}
