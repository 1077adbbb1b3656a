"""Every way a file can be bad ends in its code, and a good file gives the samples librosa gives."""

import sys
from fractions import Fraction

import av
import librosa
import numpy as np
import pytest
import signals
import soundfile
from fresh_process import run_fresh

from audio_assets.audio import AudioLimits, decode_mono, probe
from audio_assets.failures import FailureCode, TrackFailure

RATE_HZ = 44_100


def write(path, samples, rate_hz=RATE_HZ, **kwargs):
    soundfile.write(path, samples, rate_hz, **kwargs)
    return path


def noise(channels, duration_s=2.0, rate_hz=RATE_HZ):
    return 0.1 * np.random.default_rng(3).standard_normal((int(duration_s * rate_hz), channels))


def write_m4a(path, samples, **options):
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def code_of(function, *args):
    with pytest.raises(TrackFailure) as caught:
        function(*args)
    return caught.value.code


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data) and folder / name


def float_wav(value):
    samples = signals.drone()
    samples[1000] = value
    return lambda folder: write(folder / "f.wav", samples, subtype="FLOAT")


def cut(name, **kwargs):
    return lambda folder: signals.cut_in_half(write(folder / name, noise(2, 10), **kwargs))


BAD_FILES = {
    "empty": (lambda folder: (folder / "e.wav").touch() or folder / "e.wav", {FailureCode.EMPTY_FILE}),
    "missing": (lambda folder: folder / "none.wav", {FailureCode.MISSING}),
    "folder": (lambda folder: folder, {FailureCode.NOT_A_FILE}),
    "text named mp3": (content("t.mp3", b"no music\n" * 5000), {FailureCode.UNDECODABLE}),
    "text named vox": (content("t.vox", b"no music\n" * 5000), {FailureCode.UNDECODABLE}),
    "playlist": (content("p.mp3", b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n"), {FailureCode.UNDECODABLE}),
    "1 Hz": (content("r.wav", signals.pcm_wav(rate_hz=1)), {FailureCode.ABSURD_SAMPLE_RATE}),
    "2 GHz": (content("r.wav", signals.pcm_wav(rate_hz=2**31 - 1)), {FailureCode.ABSURD_SAMPLE_RATE}),
    "1024 channels": (content("c.wav", signals.pcm_wav(channels=1024)), {FailureCode.ABSURD_CHANNELS}),
    "no samples": (content("n.wav", signals.pcm_wav(samples=np.empty(0))), {FailureCode.UNDECODABLE}),
    "silent": (lambda folder: write(folder / "s.wav", np.zeros(RATE_HZ * 2)), {FailureCode.SILENT}),
    "only an offset": (
        lambda folder: write(folder / "o.wav", np.full(RATE_HZ * 2, 0.5)),
        {FailureCode.SILENT},
    ),
    "short": (lambda folder: write(folder / "s.flac", noise(1, 0.9)), {FailureCode.TOO_SHORT}),
    "NaN": (float_wav(np.nan), {FailureCode.NON_FINITE_AUDIO}),
    "infinity": (float_wav(np.inf), {FailureCode.NON_FINITE_AUDIO}),
    "1e30": (float_wav(1e30), {FailureCode.ABSURD_AMPLITUDE}),
    "cut wav": (cut("c.wav"), {FailureCode.TRUNCATED}),
    "cut float wav": (cut("c.wav", subtype="FLOAT"), {FailureCode.TRUNCATED}),
    "cut aiff": (cut("c.aiff"), {FailureCode.TRUNCATED}),
    "cut mp3": (cut("c.mp3"), {FailureCode.TRUNCATED}),
    "cut ogg": (cut("c.ogg"), {FailureCode.TRUNCATED}),
    "cut opus": (cut("c.opus", rate_hz=48_000, format="OGG", subtype="OPUS"), {FailureCode.TRUNCATED}),
    "cut flac": (cut("c.flac"), {FailureCode.TRUNCATED, FailureCode.UNDECODABLE}),
    "cut m4a": (
        lambda folder: signals.cut_in_half(
            write_m4a(folder / "c.m4a", signals.drone(10), movflags="faststart")
        ),
        {FailureCode.TRUNCATED, FailureCode.UNDECODABLE},
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_ends_in_its_code(name, tmp_path):
    make, codes = BAD_FILES[name]
    assert code_of(decode_mono, make(tmp_path), RATE_HZ) in codes


def test_damaged_mp3_is_refused(tmp_path):
    path = write(tmp_path / "d.mp3", noise(2, 10))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 5000] = np.random.default_rng(0).bytes(5000)
    path.write_bytes(damaged)
    assert code_of(decode_mono, path, RATE_HZ) in {FailureCode.TRUNCATED, FailureCode.UNDECODABLE}


def test_a_gap_in_an_ogg_file_is_noticed(tmp_path):
    """Reading on behind it, block by block, must not hide it."""
    path = write(tmp_path / "d.ogg", noise(2, 30))
    damaged = bytearray(path.read_bytes())
    for at in np.linspace(0.2, 0.8, 10) * len(damaged):
        damaged[int(at)] ^= 0xFF
    path.write_bytes(damaged)
    assert code_of(decode_mono, path, RATE_HZ) == FailureCode.TRUNCATED


def test_header_is_refused_without_decoding(tmp_path):
    path = tmp_path / "r.wav"
    path.write_bytes(signals.pcm_wav(rate_hz=1))
    assert code_of(probe, path) == FailureCode.ABSURD_SAMPLE_RATE
    limits = AudioLimits(max_duration_s=3)
    assert code_of(probe, write(tmp_path / "l.flac", noise(1, 4)), limits) == FailureCode.TOO_LONG


def test_too_long_is_noticed_where_no_length_is_declared(tmp_path):
    path = tmp_path / "stream.wav"
    path.write_bytes(signals.pcm_wav(data_bytes=0xFFFF_FFFF))
    assert probe(path).declared_duration_s is None
    assert code_of(decode_mono, path, RATE_HZ, AudioLimits(max_duration_s=3)) == FailureCode.TOO_LONG


@pytest.mark.parametrize("data_bytes", [0, 0x7FFF_FFFF - 36, 0xFFFF_FFFF])
def test_streamed_wav_is_whole(tmp_path, data_bytes):
    path = tmp_path / "stream.wav"
    path.write_bytes(signals.pcm_wav(data_bytes=data_bytes))
    assert decode_mono(path, RATE_HZ).decoded_duration_s == pytest.approx(5.0)


def test_streamed_flac_is_whole(tmp_path):
    path = write(tmp_path / "f.flac", noise(2, 3))
    flac = bytearray(path.read_bytes())
    flac[21] &= 0xF0  # the 36 bits of STREAMINFO that count the samples
    flac[22:26] = bytes(4)
    path.write_bytes(flac)
    assert decode_mono(path, RATE_HZ).decoded_duration_s == pytest.approx(3.0)


GOOD_FILES = {
    "stereo.wav": (2, 48_000, {}, "pcm_s16"),
    "low.wav": (1, 8_000, {"subtype": "PCM_U8"}, "pcm_u8"),
    "six.wav": (6, 44_100, {"subtype": "FLOAT"}, "pcm_f32"),
    "ten.wav": (10, 22_050, {"subtype": "PCM_24"}, "pcm_s24"),
    "a.aiff": (2, 32_000, {}, "pcm_s16"),
    "a.flac": (2, 96_000, {"subtype": "PCM_24"}, "flac"),
    "a.ogg": (2, 44_100, {}, "vorbis"),
    "a.opus": (2, 48_000, {"format": "OGG", "subtype": "OPUS"}, "opus"),
    "a.mp3": (2, 44_100, {}, "mp3"),
    "vbr.mp3": (1, 22_050, {"format": "MP3", "bitrate_mode": "VARIABLE"}, "mp3"),
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_equals_librosa_bit_for_bit(name, tmp_path):
    channels, rate_hz, kwargs, codec = GOOD_FILES[name]
    path = write(tmp_path / name, noise(channels, 7, rate_hz), rate_hz, **kwargs)
    decoded = decode_mono(path, RATE_HZ)
    expected, _ = librosa.load(path, sr=RATE_HZ)
    assert decoded.samples.dtype == np.float32
    assert np.array_equal(decoded.samples, expected)
    assert decoded.decoded_duration_s == pytest.approx(decoded.declared_duration_s, abs=1e-9)
    assert (decoded.channels, decoded.source_rate_hz, decoded.decoder) == (channels, rate_hz, "soundfile")
    assert probe(path).codec == codec


HOUR_S = 3600.5

PEAK_OF_DECODING = """
import sys
from pathlib import Path
import av, numpy, soundfile, soxr
from audio_assets.audio import decode_mono
from fresh_process import peak_mb
before = peak_mb()
samples = decode_mono(Path(sys.argv[1]), 44_100).samples
print(peak_mb() - before, samples.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_hour_that_is_resampled_is_in_memory_once(tmp_path):
    """Neither joined blocks nor resampling may double the peak; test_long_track has what needs neither."""
    path, rate_hz = tmp_path / "mix.flac", 48_000
    minute = np.zeros((60 * rate_hz, 2), np.int16)
    minute[:rate_hz] = 3000
    with soundfile.SoundFile(path, "w", rate_hz, 2) as mix:
        for _ in range(60):
            mix.write(minute)
        mix.write(minute[: rate_hz // 2])
    peak_mb, size = map(float, run_fresh(PEAK_OF_DECODING, path).split())
    assert size == HOUR_S * RATE_HZ
    assert peak_mb < size * 4 / 1e6 + 120


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8_000, 22_051, 47_952, 48_000, 192_000])
@pytest.mark.parametrize("block_frames", [960, 1152, 2**18])
def test_blocks_are_resampled_as_the_whole(channels, rate_hz, block_frames, tmp_path, monkeypatch):
    monkeypatch.setattr("audio_assets.audio.decode.BLOCK_FRAMES", block_frames)
    path = write(tmp_path / "a.wav", noise(channels, 2.7, rate_hz), rate_hz, subtype="FLOAT")
    expected, _ = librosa.load(path, sr=RATE_HZ)
    assert np.array_equal(decode_mono(path, RATE_HZ).samples, expected)


def test_m4a_is_decoded(tmp_path):
    original = signals.band(6)
    decoded = decode_mono(write_m4a(tmp_path / "a.m4a", original), RATE_HZ)
    assert decoded.decoder == "pyav"
    assert decoded.declared_duration_s == pytest.approx(6.0, abs=0.1)
    n = len(original)
    assert np.corrcoef(decoded.samples[:n], original)[0, 1] > 0.95  # aligned: the encoder's delay is gone


def test_content_decides_and_not_the_name(tmp_path):
    path = write(tmp_path / "really.flac", noise(1)).rename(tmp_path / "named.mp3")
    assert probe(path).codec == "flac"


def test_loud_float_file_is_no_failure(tmp_path):
    path = write(tmp_path / "loud.wav", 20 * noise(2), subtype="FLOAT")
    assert np.abs(decode_mono(path, RATE_HZ).samples).max() > 1.5
