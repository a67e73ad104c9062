"""Codecs: aligned to the sample; held against libsndfile's LAME, mpg123, libopus."""

import io
import subprocess
import sys

import av
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import soxr
from clips_by_hand import lag, level_db, noise_clip, onset_clip, snr_db

from jaxadv.errors import InputError
from jaxadv.transforms import aac, mp3, opus, rng_of, vorbis

CODECS = {
  **{f"mp3 {rate}": mp3(rate) for rate in (48, 128, 320)},
  **{f"aac {rate}": aac(rate) for rate in (32, 64, 128)},
  **{f"opus {rate}": opus(rate) for rate in (16, 48, 128)},
  **{f"vorbis {quality}": vorbis(quality) for quality in (0.0, 5.0, 10.0)},
}
RNG = rng_of(0, 0, "")
CLIP = noise_clip(32000)


@pytest.mark.parametrize("name", CODECS)
# a multiple of AAC's frame, and of none; the shortest clip that is taken
@pytest.mark.parametrize("samples", [1600, 20480, 33333])
@pytest.mark.parametrize("clip", [noise_clip, onset_clip])
def test_aligned_to_the_sample(name, samples, clip):
  x = clip(samples)
  y = CODECS[name](x, RNG)
  assert len(y) == len(x) and not np.array_equal(y, x)
  assert lag(y, x) == 0
  # nor is there a shift that the peak's rounding hides: one sample costs more
  assert snr_db(y, x) > max(snr_db(np.roll(y, 1), x), snr_db(np.roll(y, -1), x))


def test_short_tones_are_read_as_what_they_are():
  # ffmpeg took some files of a few frames for those of other formats
  x = np.float32(0.44151045227659425 * np.sin(np.arange(1600) * 1.2017775715656605))
  assert lag(CODECS["mp3 320"](x, RNG), x) == 0
  rng = np.random.default_rng(2)
  for _ in range(60):
    tone = rng.uniform(0.1, 0.9) * np.sin(np.arange(1600) * rng.uniform(0.02, 2))
    for name in ("mp3 320", "aac 64", "opus 48"):
      assert len(CODECS[name](np.float32(tone), RNG)) == 1600


@pytest.mark.parametrize("codec", ["mp3", "aac", "opus", "vorbis"])
def test_more_bits_lose_less(codec):
  kept = [snr_db(t(CLIP, RNG), CLIP) for name, t in CODECS.items() if codec in name]
  assert kept[0] + 3 < kept[1] and kept[1] + 3 < kept[2]


def by_libsndfile(x, rate_hz, **form):
  file = io.BytesIO()
  with soundfile.SoundFile(file, "w", rate_hz, 1, **form) as out:
    out.write(x)
  file.seek(0)
  return soundfile.read(file, dtype="float32")[0][: len(x)], file.getbuffer().nbytes


def by_lame(x, rate_kbit):
  # libsndfile spreads compression 0 to 1 over 320 to 32 kbit/s
  form = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
  return by_libsndfile(x, 32000, compression_level=(320 - rate_kbit) / 288, **form)


def distance_db(a, b):
  """Mean difference of log spectra, frames of 1024, floor of -80 dB."""
  spectra = []
  for x in (a, b):
    frames = x[: len(x) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    spectra.append(10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1e-6))
  return np.abs(spectra[0] - spectra[1]).mean()


@pytest.mark.parametrize("clip", [noise_clip, onset_clip])
def test_mp3_is_what_lame_and_mpg123_make_at_the_same_rate(clip):
  x = clip(32000)
  ours = {rate: mp3(rate)(x, RNG) for rate in (48, 128, 320)}
  for rate, y in ours.items():
    other, size = by_lame(x, rate)
    assert size * 8 / 1000 == pytest.approx(rate, rel=0.1)  # 1 s
    distances = {of: distance_db(other, heard) for of, heard in ours.items()}
    assert min(distances, key=distances.__getitem__) == rate
    assert lag(y, other) == 0
    # an encoder of other settings decides otherwise in places: the losses agree
    assert snr_db(y, x) == pytest.approx(snr_db(other, x), abs=1.5)


@pytest.fixture
def encoded(monkeypatch):
  """Bytes of the files that were decoded, in turn."""
  files = []
  opened = av.open

  def keep(file, mode="r", **options):
    if mode == "r":
      files.append(file.getvalue())
    return opened(file, mode, **options)

  monkeypatch.setattr(av, "open", keep)
  return files


def test_mp3_is_of_constant_rate(encoded):
  for rate in (48, 320):
    y = mp3(rate)(onset_clip(32000), RNG)
    with av.open(io.BytesIO(encoded[-1])) as file:
      sizes = {packet.size for packet in file.demux(audio=0) if packet.size}
    assert sizes == {rate * 1152 // 8 // 32}  # bits of 1152 samples at 32 kHz
    # another decoder hears the same
    other = soundfile.read(io.BytesIO(encoded[-1]), dtype="float32")[0]
    assert snr_db(y, other) > 60


@pytest.mark.parametrize("rate", [16, 48, 128])
def test_opus_is_what_libopus_decodes(encoded, rate):
  y = opus(rate)(CLIP, RNG)
  assert len(encoded[0]) * 8 / 1000 == pytest.approx(rate, rel=0.2)  # 1 s
  other = soundfile.read(io.BytesIO(encoded[0]), dtype="float32")[0]
  # low rates are SILK, which the two bring to 48 kHz with filters of their own:
  # libopus's is 1 to 2 samples early
  spectrum, hz = np.fft.rfft(other), np.fft.rfftfreq(len(other), 1 / 48000)
  found = []
  for late in np.arange(0, 3, 0.05):
    moved = np.fft.irfft(spectrum * np.exp(-2j * np.pi * hz * late / 48000))
    back = soxr.resample(moved, 48000, 32000, "VHQ")[: len(CLIP)]
    found.append(snr_db(y[100:-100], back[100:-100]))
  assert max(found) > (60 if rate == 128 else snr_db(y, CLIP) + 6)


@pytest.mark.parametrize("rate", [32, 64, 128])
def test_aac_has_about_its_rate(encoded, rate):
  aac(rate)(CLIP, RNG)
  assert len(encoded[0]) * 8 / 1000 == pytest.approx(rate, rel=0.2)


def ffmpeg(*options, **more):
  """What the ffmpeg command prints."""
  command = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options)
  return subprocess.run(command, check=True, stdout=subprocess.PIPE, **more).stdout


RAW = ("-f", "f32le", "-ar", "32000", "-ac", "1")


@pytest.mark.parametrize("rate", [32, 64, 128])
@pytest.mark.parametrize("clip", [noise_clip, onset_clip])
def test_aac_is_what_the_ffmpeg_command_makes(encoded, clip, rate, tmp_path):
  x = clip(32000)
  y = aac(rate)(x, RNG)
  (tmp_path / "ours.aac").write_bytes(encoded[-1])
  heard = np.frombuffer(ffmpeg("-i", tmp_path / "ours.aac", *RAW, "pipe:"), np.float32)
  assert snr_db(y, heard[1024:][: len(x)]) > 60
  # its own file, in a container that says the delay; another version of the encoder
  aside, coder = tmp_path / "its.m4a", ("-c:a", "aac", "-b:a", f"{rate}k")
  ffmpeg(*RAW, "-i", "pipe:", *coder, aside, input=x.tobytes())
  other = np.frombuffer(ffmpeg("-i", aside, *RAW, "pipe:"), np.float32)[: len(x)]
  assert lag(y, other) == 0
  assert snr_db(y, x) == pytest.approx(snr_db(other, x), abs=1.0)


def test_vorbis_is_what_ffmpeg_decodes():
  file = io.BytesIO()
  with soundfile.SoundFile(
    file, "w", 32000, 1, format="OGG", subtype="VORBIS", compression_level=0.7
  ) as ogg:
    ogg.write(CLIP)
  file.seek(0)
  with av.open(file) as opened:
    decoded = np.concatenate([f.to_ndarray()[0] for f in opened.decode(audio=0)])
  assert snr_db(vorbis(3.0)(CLIP, RNG), decoded[: len(CLIP)]) > 60


def test_low_rates_cut_the_top():
  white = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
  top = [level_db(mp3(rate)(white, RNG), 14000, 15500) for rate in (48, 320)]
  assert top[0] < level_db(white, 14000, 15500) - 20
  assert top[1] > level_db(white, 14000, 15500) - 3


def test_minutes_of_vorbis():
  # in one piece they overflow libsndfile's stack, and end the process
  x = np.tile(noise_clip(32000), 150)
  assert snr_db(vorbis(5.0)(x, RNG), x) > 8


def test_missing_codecs_are_said_at_the_start(monkeypatch):
  monkeypatch.setattr(soundfile, "available_subtypes", lambda format: {"OPUS": ""})
  with pytest.raises(InputError, match="no Vorbis: install"):
    vorbis()

  def unknown(name, mode):
    raise ValueError(name)

  monkeypatch.setattr(av, "Codec", unknown)
  with pytest.raises(InputError, match="no encoder libmp3lame: pip install"):
    mp3()
  monkeypatch.setitem(sys.modules, "av", None)
  for factory in (mp3, aac, opus):
    with pytest.raises(InputError, match=r"PyAV is missing .*pip install av"):
      factory()
