"""Reading bar files: every trap that concerns it by its number in the list of traps, then whatever else may be sent."""

import gzip
import io
import json
import os
import stat
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quality.formats import Format
from resources import errors
from resources.bar_files import containers as opened
from resources.bar_files.layouts import load_formats
from resources.bar_files.reading import BarFile, read_bar_file
from resources.sources.protocol import RECEIVED

OHLCV = "date,open,high,low,close,volume"
BITS = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}


@pytest.fixture
def write(tmp_path):
    """Lines or bytes in, a file out."""

    def written(*lines: str | bytes, name: str = "bars.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
        return path

    return written


def rows(file: BarFile) -> pl.DataFrame:
    (series,) = file.series
    return series.rows


def stamps(file: BarFile) -> list[str | None]:
    return [None if ts is None else f"{ts:%Y-%m-%d %H:%M}" for ts in rows(file)["ts"]]


def bars(*written: str, end: str = "10,12,9,11,5", delimiter: str = ",") -> list[str]:
    return [f"{stamp}{delimiter}{end.replace(',', delimiter)}" for stamp in written]


def minutes(n: int, start: str = "2024-01-02 10:00") -> list[str]:
    first = datetime.fromisoformat(start)
    return [f"{first + timedelta(minutes=minute):%Y-%m-%d %H:%M:%S}" for minute in range(n)]


def layout(**keys: Any) -> dict[str, Format]:
    """One layout of a test's own, by position unless it says otherwise."""
    given_keys = {
        "name": "mine",
        "about": "a test's",
        "positions": ["ts", "open", "high", "low", "close", "volume"],
        "times": {"patterns": ["iso"]},
        **keys,
    }
    return {"mine": Format.model_validate_json(json.dumps(given_keys))}


class TestTraps:
    """The numbers are those of the list of traps."""

    def test_01_both_rows_of_an_unclosed_and_a_closed_bar_are_kept_in_the_order_they_came(self, write):
        first, second, third = minutes(3)
        file = read_bar_file(write(OHLCV, f"{first},1,1,1,1,5", f"{first},1,2,1,2,9", *bars(second, third)))
        assert rows(file)["volume"].to_list()[:2] == [5, 9]
        assert rows(file)["line"].to_list() == [1, 2, 3, 4]

    def test_02_identical_rows_are_both_kept(self, write):
        first, second = minutes(2)
        assert rows(read_bar_file(write(OHLCV, *bars(first, first, second)))).height == 3

    def test_03_columns_are_found_by_name_in_any_order(self, write):
        file = read_bar_file(write("Date,Open,Close,High,Low,Volume", *(f"{ts},10,11,12,9,5" for ts in minutes(3))))
        assert rows(file).select([*BITS]).row(0, named=True) == BITS

    def test_03_without_names_the_order_is_seen_in_the_rows(self, write):
        file = read_bar_file(write(*(f"{ts},10,11,12,9,5" for ts in minutes(5))))
        assert file.format == "headerless_close_second"
        assert rows(file).select([*BITS]).row(0, named=True) == BITS

    def test_03_the_columns_are_named_when_every_row_breaks_in_the_same_way(self, write):
        path = write("date,open,close,high,low,volume", *(f"{ts},10,12,9,11,5" for ts in minutes(6)))
        with pytest.raises(errors.ExchangedColumnsError, match="'close' is the highest and 'high' the lowest"):
            read_bar_file(path)

    def test_04_low_and_high_exchanged_in_the_header(self, write):
        path = write("date,open,low,high,close,volume", *bars(*minutes(6)))
        with pytest.raises(errors.ExchangedColumnsError, match=r"6 rows .*'low' is the highest and 'high' the lowest"):
            read_bar_file(path)

    def test_05_a_header_shorter_than_the_rows(self, write):
        path = write("date,open,high,low,close,volume", *bars("2024-01-02", "2024-01-03", end="09:00:00,10,12,9,11,5"))
        with pytest.raises(errors.RaggedRowError, match=r"bars.csv:2: 7 fields, expected 6"):
            read_bar_file(path)

    def test_05_is_read_where_a_layout_gives_explicit_columns(self, write):
        heading = "Date,Open,High,Low,Close,Volume,OpenInterest"
        path = write(heading, *bars("2006-01-02,09:01:00", "2006-01-02,09:02:00", end="10,12,9,11,5,0"), "")
        assert stamps(read_bar_file(path)) == ["2006-01-02 08:00", "2006-01-02 08:01"]

    def test_06_a_column_name_twice_with_the_same_values(self, write):
        path = write("Date,Open,High,Low,Close,Date", *(f"{ts},10,12,9,11,{ts}" for ts in minutes(3)))
        assert rows(read_bar_file(path)).height == 3

    def test_06_a_column_name_twice_with_different_values(self, write):
        first, second = minutes(2)
        path = write("Date,Open,High,Low,Close,Date", f"{first},1,1,1,1,{first}", f"{second},1,1,1,1,{first}")
        with pytest.raises(errors.DisagreeingColumnsError, match="row 2 has ts '2024-01-02 10:01:00' and ts"):
            read_bar_file(path)

    def test_07_of_two_time_columns_the_configured_one_counts(self, write):
        header = "unix,date,symbol,open,high,low,close,volume"
        path = write(header, *(f"{1704189600 + 60 * n},{ts},X,1,1,1,1,1" for n, ts in enumerate(minutes(3))))
        assert stamps(read_bar_file(path)) == ["2024-01-02 10:00", "2024-01-02 10:01", "2024-01-02 10:02"]

    def test_07_two_time_columns_that_disagree(self, write):
        header = "unix,date,symbol,open,high,low,close,volume"
        path = write(header, *(f"{1704189600 + 60 * n},2024-01-02 11:00:00,X,1,1,1,1,1" for n in range(3)))
        with pytest.raises(errors.DisagreeingColumnsError, match=r"row 1 has .*10:00.* and .*11:00"):
            read_bar_file(path)

    def test_07_a_start_and_an_end_that_are_not_one_bar_apart(self, write):
        good = [f"{ts},{ts[:-2]}59.999,1,1,1,1,1" for ts in minutes(4)]
        header = "Start Date,End Date,Open,High,Low,Close,Volume"
        assert read_bar_file(write(header, *good)).timeframe == "1m"
        with pytest.raises(errors.DisagreeingColumnsError, match=r"row 5 .* for bars of 1m"):
            read_bar_file(write(header, *good, "2024-01-02 10:04:00,2024-01-02 10:05:59.999,1,1,1,1,1"))

    def test_08_a_stamp_of_the_close_goes_back_by_one_bar(self, write):
        path = write(OHLCV, *bars(*minutes(3, "2024-01-02 09:01")))
        assert stamps(read_bar_file(path, label="close"))[0] == "2024-01-02 09:00"
        assert stamps(read_bar_file(path, label="close", timeframe="5m"))[0] == "2024-01-02 08:56"

    @pytest.mark.parametrize("last", ["59.999", "59.999999"])
    def test_09_an_end_in_its_last_millisecond_is_the_next_bars_start(self, write, last):
        path = write(OHLCV, *bars(*(f"2024-01-02 10:0{minute}:{last}" for minute in range(3))))
        assert stamps(read_bar_file(path, label="close")) == [
            "2024-01-02 10:00",
            "2024-01-02 10:01",
            "2024-01-02 10:02",
        ]

    @pytest.mark.parametrize(
        ("written", "session"),
        [
            ("2024-01-03 00:00:00", "2024-01-02"),
            ("2024-01-02 23:59:59.999", "2024-01-02"),
            ("2024-01-02", "2024-01-02"),
        ],
    )
    def test_10_a_day_that_ends_at_0000_is_the_day_before(self, write, written, session):
        path = write(OHLCV, *bars(written))
        assert stamps(read_bar_file(path, label="close", timeframe="1d")) == [f"{session} 00:00"]

    def test_15_a_time_of_day_takes_its_day_from_the_name(self, write):
        path = write(
            *(f"{ms},1000000,1200000,900000,1100000,5" for ms in (34_200_000, 34_260_000, 34_320_000)),
            name="20240702_trade.csv",
        )
        file = read_bar_file(path, format_name="lean_equity_minute")
        assert stamps(file)[0] == "2024-07-02 13:30"  # 09:30 in New York
        assert rows(file)["high"][0] == 120

    def test_15_a_time_of_day_without_a_day_is_refused(self, write):
        path = write(*(f"{ms},100,120,90,110,5" for ms in (0, 60_000, 120_000)))
        with pytest.raises(errors.NamelessDayError, match="--date"):
            read_bar_file(path, format_name="lean_crypto_minute")
        assert (
            stamps(read_bar_file(path, format_name="lean_crypto_minute", day=date(2024, 7, 2)))[1] == "2024-07-02 00:01"
        )

    def test_15_a_time_of_day_that_is_of_another_day_is_unreadable(self, write):
        path = write(*(f"{ms},1,1,1,1,1" for ms in (0, 60_000, 86_400_000)), name="20240702.csv")
        assert stamps(read_bar_file(path, format_name="lean_crypto_minute"))[2] is None

    def test_16_a_local_time_that_does_not_exist_or_is_ambiguous_is_unreadable(self, write):
        spring = ["2011-03-13 01:59:00", "2011-03-13 02:00:00", "2011-03-13 02:59:00", "2011-03-13 03:00:00"]
        autumn = ["2011-11-06 00:59:00", "2011-11-06 01:00:00", "2011-11-06 02:00:00"]
        file = read_bar_file(write(OHLCV, *bars(*spring, *autumn)), timezone="America/New_York", timeframe="1m")
        assert stamps(file) == [
            "2011-03-13 06:59", None, None, "2011-03-13 07:00", "2011-11-06 04:59", None, "2011-11-06 07:00",
        ]  # fmt: skip

    def test_16_an_offset_in_the_text_wins(self, write):
        ambiguous = [
            "2011-11-06T01:00:00-04:00",
            "2011-11-06T01:00:00-05:00",
            "2011-11-06 07:00:00Z",
            "2011-11-06 10:00:00+0200",
        ]
        file = read_bar_file(write(OHLCV, *bars(*ambiguous)), timezone="Asia/Tokyo")
        assert stamps(file) == ["2011-11-06 05:00", "2011-11-06 06:00", "2011-11-06 07:00", "2011-11-06 08:00"]

    def test_16_stamps_with_and_without_an_offset_may_be_mixed(self, write):
        file = read_bar_file(
            write(OHLCV, *bars("2024-01-02 10:00:00", "2024-01-02 11:00:00+01:00", "2024-01-02 10:10:00")),
            timeframe="5m",
        )
        assert stamps(file) == ["2024-01-02 10:00", "2024-01-02 10:00", "2024-01-02 10:10"]

    def test_16_a_daily_bar_keeps_the_date_as_written(self, write):
        file = read_bar_file(write(OHLCV, *bars("2024-03-28 00:00:00+08:00", "2024-03-29 00:00:00+08:00")))
        assert stamps(file) == ["2024-03-28 00:00", "2024-03-29 00:00"]
        assert file.timeframe == "1d"

    def test_17_epochs_are_read_by_their_magnitude_row_by_row(self, write):
        seconds = 1_704_189_600
        counts = [seconds, (seconds + 60) * 1_000, (seconds + 120) * 1_000_000, (seconds + 180) * 1_000_000_000]
        file = read_bar_file(write(OHLCV, *bars(*map(str, counts), f"{seconds + 240}.0")))
        assert stamps(file) == [f"2024-01-02 10:0{minute}" for minute in range(5)]

    @pytest.mark.parametrize("count", ["20240102", "599999999", "99999999999999999999", "-1704189600", "4102444800"])
    def test_17_an_epoch_outside_1990_and_tomorrow_is_unreadable(self, write, count):
        epochs = layout(times={"epoch": "auto"})
        path = write(*bars("1704189600", "1704189660", "1704189720", count))
        assert stamps(read_bar_file(path, formats=epochs, format_name="mine"))[3] is None

    def test_18_the_order_of_day_and_month_is_proved_by_a_day_after_the_12th(self, write):
        assert stamps(read_bar_file(write(OHLCV, *bars("01/12/2017", "01/13/2017"))))[0] == "2017-01-12 00:00"
        assert stamps(read_bar_file(write(OHLCV, *bars("12/02/2017", "13/02/2017"))))[0] == "2017-02-12 00:00"

    def test_18_dates_that_prove_nothing_are_refused_with_both_layouts(self, write):
        with pytest.raises(errors.AmbiguousLayoutError, match="ohlcv_day_first and ohlcv_month_first"):
            read_bar_file(write(OHLCV, *bars("01/02/2017", "02/02/2017", "03/02/2017")))

    def test_18_dates_that_prove_both_orders_are_refused(self, write):
        path = write(OHLCV, *bars(*(f"01/{day:02}/2017" for day in range(2, 15)), "15/01/2017"))
        with pytest.raises(errors.MixedDatesError, match="row 14 is stamped '15/01/2017'"):
            read_bar_file(path)

    def test_18_the_proof_may_come_late(self, write):
        days = [
            f"{day:02}/01/2017 {hour:02}:{minute:02}"
            for day in range(1, 15)
            for hour in range(24)
            for minute in (0, 30)
        ]
        file = read_bar_file(write(OHLCV, *bars(*days)))
        assert (file.format, file.timeframe) == ("ohlcv_day_first", "30m")

    def test_19_a_file_that_begins_with_the_newest_keeps_its_order(self, write):
        file = read_bar_file(write(OHLCV, *bars("2024-01-04", "2024-01-03", "2024-01-02")))
        assert stamps(file)[0] == "2024-01-04 00:00"
        assert file.timeframe == "1d"

    def test_20_rows_out_of_order_keep_their_place(self, write):
        first, second, third, fourth = minutes(4)
        assert stamps(read_bar_file(write(OHLCV, *bars(first, third, second, fourth))))[1:3] == [
            "2024-01-02 10:02",
            "2024-01-02 10:01",
        ]

    def test_21_prices_are_scaled_by_their_layout_and_not_by_a_guess(self, write):
        path = write(*bars(*minutes(3), end="100000,120000,90000,110000,5"))
        assert rows(read_bar_file(path))["close"][0] == 110_000
        assert rows(read_bar_file(path, formats=layout(price_divisor=10_000)))["close"][0] == 11

    def test_21_scaled_prices_are_whole_numbers(self, write):
        path = write(*bars("0", "60000", "120000", end="10.5,12.5,9.5,11.5,5"), name="20240702_trade.csv")
        assert read_bar_file(path).format == "lean_crypto_minute"

    def test_33_nothing_is_added_at_the_end_of_a_file_that_ends_early(self, write):
        assert (
            stamps(read_bar_file(write(OHLCV, *bars("2024-01-02 16:46:00", "2024-01-02 16:47:00"))))[-1]
            == "2024-01-02 16:47"
        )

    def test_35_a_lunch_break_does_not_lengthen_the_bars(self, write):
        morning, afternoon = minutes(5, "2024-01-02 03:55"), minutes(5, "2024-01-02 05:00")
        assert read_bar_file(write(OHLCV, *bars(*morning, *afternoon))).timeframe == "1m"

    def test_36_a_closing_print_is_a_row_like_the_others(self, write):
        path = write(OHLCV, *bars(*minutes(2, "2024-01-02 15:58"), "2024-01-02 16:00:00"))
        assert rows(read_bar_file(path, timezone="America/New_York"))["volume"].to_list() == [5, 5, 5]

    def test_37_rows_before_the_opening_are_kept(self, write):
        path = write(OHLCV, *bars(*minutes(400, "2024-01-02 04:00")))
        assert rows(read_bar_file(path, timezone="America/New_York")).height == 400

    def test_38_a_volume_of_0_stays_0_and_no_volume_is_null(self, write):
        assert rows(read_bar_file(write(OHLCV, *bars(*minutes(2), end="1,1,1,1,0"))))["volume"].to_list() == [0, 0]
        assert rows(read_bar_file(write("time,open,high,low,close", *bars(*minutes(2), end="1,1,1,1"))))[
            "volume"
        ].to_list() == [None, None]

    def test_39_volumes_in_thousands_millions_and_lots(self, write):
        header = "Date,Price,Open,High,Low,Vol.,Change %"
        volumes = ["93.93M", "1.5K", "0.29B", "-"]
        quoted = [
            f'"01/{day}/2024","1,011.00","1,010.00","1,012.00","1,009.00","{volume}","1%"'
            for day, volume in enumerate(volumes, 15)
        ]
        file = read_bar_file(write(header, *quoted))
        assert rows(file)["volume"].to_list() == [93_930_000, 1_500, 290_000_000, None]
        assert rows(file)["close"][0] == 1_011
        lots = read_bar_file(write(*bars(*minutes(3))), formats=layout(volume_factor=100))
        assert rows(lots)["volume"][0] == 500

    def test_40_a_text_in_a_number_cell_spoils_its_cell_only(self, write):
        first, second, third = minutes(3)
        file = read_bar_file(
            write(OHLCV, f"{first},not_digits,12,9,11,5", f"{second},10,12,9,11,no volume", *bars(third))
        )
        assert rows(file)["open"].to_list() == [None, 10, 10]
        assert rows(file)["volume"].fill_nan(-1).to_list() == [5, -1, 5]

    @pytest.mark.parametrize(
        "unknown", ["", "nan", "NaN", "null", "None", "-", "--", "N/A", " n/a ", "NA", "#N/A", "<NA>"]
    )
    def test_40_a_volume_that_nobody_knows_is_null(self, write, unknown):
        file = read_bar_file(write(OHLCV, *(f"{ts},10,12,9,11,{unknown}" for ts in minutes(3))))
        assert rows(file)["volume"].to_list() == [None] * 3

    @pytest.mark.parametrize("written", ["many", "1,000x", "1.2.3", "---"])
    def test_40_a_volume_that_is_text_is_not_a_number_and_not_unknown(self, write, written):
        file = read_bar_file(write(OHLCV, *(f'{ts},10,12,9,11,"{written}"' for ts in minutes(3))))
        assert rows(file)["volume"].is_nan().all()

    @pytest.mark.parametrize("written", ["inf", "Infinity", "1e400", "9" * 5_000])
    def test_40_a_volume_beyond_all_numbers_is_infinite(self, write, written):
        file = read_bar_file(write(OHLCV, *(f"{ts},10,12,9,11,{written}" for ts in minutes(3))))
        assert rows(file)["volume"].is_infinite().all()

    def test_40_a_volume_of_a_parquet_that_is_nan_is_not_known(self, tmp_path):
        path = tmp_path / "a.parquet"
        stamps = [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 3, 4)]
        volumes = [float("nan"), None, 5.0]
        pl.DataFrame(
            {"date": stamps, **{n: [value] * 3 for n, value in BITS.items()}, "volume": volumes}
        ).write_parquet(path)
        assert rows(read_bar_file(path))["volume"].to_list() == [None, None, 5]

    def test_40_blank_rows_count_and_blank_lines_do_not(self, write):
        first, second = minutes(2)
        file = read_bar_file(write("", OHLCV, *bars(first), "", ",,,,,", *bars(second), "", ""))
        assert stamps(file) == ["2024-01-02 10:00", None, "2024-01-02 10:01"]

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("last", ["", "{newline}"])
    def test_40_byte_order_marks_line_ends_and_a_missing_last_one(self, write, newline, mark, last):
        text = newline.join([OHLCV, *bars(*minutes(3))]) + last.format(newline=newline)
        assert rows(read_bar_file(write(mark + text.encode()))).height == 3

    def test_40_utf_16_as_desktop_programs_export_it(self, write):
        assert rows(read_bar_file(write("\n".join([OHLCV, *bars(*minutes(3))]).encode("utf-16")))).height == 3

    def test_41_zeros_are_read_as_zeros(self, write):
        assert rows(read_bar_file(write(OHLCV, *bars(*minutes(3), end="0,0,0,0,0"))))["close"].to_list() == [0, 0, 0]

    @pytest.mark.parametrize(
        "price", ["42667410863718.8", "4.89e-06", "0.00000001", "3.60E-05", "1.7976931348623157e308"]
    )
    def test_42_huge_and_tiny_numbers_are_exact(self, write, price):
        assert rows(read_bar_file(write(OHLCV, *bars(*minutes(3), end=f"{price},{price},{price},{price},1"))))["close"][
            0
        ] == float(price)

    def test_43_the_noise_of_a_float_is_kept_as_received(self, write):
        path = write(OHLCV, *bars(*minutes(3), end="5.330000000000001e-05,1,0.00001,1,1"))
        assert rows(read_bar_file(path))["open"][0] == 5.330000000000001e-05

    def test_44_rounded_prices_are_read_as_they_are(self, write):
        path = write(OHLCV, *bars("1986-03-13", "1986-03-14", end="0.09,0.10,0.09,0.10,1031788800.0"))
        assert rows(read_bar_file(path))["high"].to_list() == [0.1, 0.1]

    def test_48_several_series_are_told_apart(self, write):
        first, second = minutes(2)
        path = write(
            "date,symbol,open,high,low,close,volume",
            *(
                f"{ts},{name},1,1,1,1,{n}"
                for n, (ts, name) in enumerate([(first, "ESZ3"), (first, "ESH4"), (second, "ESZ3"), (second, "ESH4")])
            ),
        )
        file = read_bar_file(path)
        assert [series.name for series in file.series] == ["ESZ3", "ESH4"]
        assert [series.rows["line"].to_list() for series in file.series] == [[1, 3], [2, 4]]
        assert file.timeframe == "1m"

    @pytest.mark.parametrize("lines", [[OHLCV], [OHLCV, ""], [OHLCV, "2024-01-02 10:00:00,,,,,"], [""], ["", "", ""]])
    def test_49_no_data_is_refused_as_that(self, write, lines):
        with pytest.raises(errors.NoDataError, match="no data"):
            read_bar_file(write(*lines))


class TestLayouts:
    def test_none_that_fits_says_what_was_found_and_what_to_do(self, write):
        with pytest.raises(
            errors.UnknownLayoutError, match=r"'when,price,size', then '1,2,3'; name its layout .*formats/NAME.yaml"
        ):
            read_bar_file(write("when,price,size", "1,2,3"))

    def test_a_layout_is_chosen_by_name(self, write):
        with pytest.raises(errors.UnknownFormatError, match="did you mean 'histdata'"):
            read_bar_file(write(OHLCV), format_name="histdta")

    def test_a_layout_chosen_by_name_that_does_not_fit_is_refused(self, write):
        with pytest.raises(errors.UnknownLayoutError, match="does not fit the layout 'histdata'"):
            read_bar_file(write(OHLCV, *bars(*minutes(3))), format_name="histdata")

    @pytest.mark.parametrize(
        ("options", "name", "first"),
        [
            ({"timezone": "America/New_York"}, "histdata", "2024-01-02 15:00"),
            ({"label": "close"}, "ninjatrader", "2024-01-02 09:59"),
            ({"timezone": "Europe/Berlin", "label": "open"}, "histdata", "2024-01-02 09:00"),
        ],
    )
    def test_what_is_said_of_the_time_decides_between_layouts_that_differ_in_it(self, write, options, name, first):
        path = write(*bars(*(f"20240102 10{minute:02}00" for minute in range(5)), delimiter=";"))
        with pytest.raises(errors.AmbiguousLayoutError, match="histdata and ninjatrader"):
            read_bar_file(path)
        file = read_bar_file(path, **options)
        assert stamps(file)[0] == first
        assert name in {file.format, "histdata"}

    def test_a_decimal_comma_is_seen(self, write):
        file = read_bar_file(write("date;open;high;low;close", *(f"{ts};1,5;1,75;1,25;1,5" for ts in minutes(3))))
        assert rows(file)["high"][0] == 1.75

    def test_a_thousands_mark_that_could_be_a_decimal_mark_is_not_believed(self, write):
        path = write("date;open;high;low;close", *(f"{ts};110.123;110.500;110.001;110.250" for ts in minutes(3)))
        assert rows(read_bar_file(path))["high"][0] == 110.5

    def test_a_mark_in_a_wrong_place_makes_no_number(self, write):
        keys = {"thousands_mark": ",", "delimiters": [";"]}
        cells = ["1,234.5", "12,34.5", "1,234,567", "1234.5", "1,2"]
        path = write(*(f"{ts};{cell};9e9;1;2;3" for ts, cell in zip(minutes(5), cells, strict=True)))
        file = read_bar_file(path, formats=layout(**keys), format_name="mine")
        assert rows(file)["open"].to_list() == [1234.5, None, 1_234_567, 1234.5, None]

    def test_a_projects_layouts_are_added_and_win_over_those_of_the_package(self, tmp_path):
        (tmp_path / "formats").mkdir()
        mine = "name: mine\nabout: my own\npositions: [ts, open, high, low, close]\ntimes: {patterns: [iso]}\n"
        (tmp_path / "formats/mine.yaml").write_text(mine)
        (tmp_path / "formats/histdata.yaml").write_text(mine.replace("name: mine", "name: histdata"))
        formats = load_formats(tmp_path)
        assert formats["mine"].about == formats["histdata"].about == "my own"
        assert len(formats) == len(load_formats()) + 1

    def test_a_projects_layout_that_cannot_be_used_is_refused_with_its_line(self, tmp_path):
        (tmp_path / "formats").mkdir()
        (tmp_path / "formats/mine.yaml").write_text(
            "name: other\nabout: x\npositions: [ts, open]\ntimes: {zone: Mars}\n"
        )
        with pytest.raises(ValueError, match=r"mine.yaml:4: times.zone is 'Mars', expected a time zone"):
            load_formats(tmp_path)

    def test_an_unknown_time_zone_is_refused(self, write):
        with pytest.raises(errors.UnknownZoneError, match="Mars/Olympus"):
            read_bar_file(write(OHLCV), timezone="Mars/Olympus")

    def test_dividends_and_splits_stand_beside_the_rows(self, write):
        header = "date,open,high,low,close,volume,dividend,split"
        path = write(
            header, *bars("2014-06-06", end="1,1,1,1,1,0.0,1.0"), *bars("2014-06-09", end="1,1,1,1,1,0.47,7.0")
        )
        ((_, _, actions, _),) = read_bar_file(path).series
        assert actions.rows() == [(date(2014, 6, 9), "dividend", 0.47), (date(2014, 6, 9), "split", 7.0)]

    def test_a_file_says_whether_its_splits_are_in_its_prices_already(self, write):
        header = "date,open,high,low,close,volume,dividend"
        before = read_bar_file(write(f"{header},split", *bars("2014-06-06", "2014-06-09", end="1,1,1,1,1,0,1")))
        path = write(
            "Date,Open,High,Low,Close,Volume,Ex-Dividend,Split Ratio,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume",
            *bars("2014-06-06", "2014-06-09", end="1,1,1,1,1,0,1,1,1,1,1,1"),
        )
        assert (before.split_adjusted, read_bar_file(path).split_adjusted) == (True, False)

    def test_a_label_that_is_neither_open_nor_close_is_refused(self, write):
        with pytest.raises(errors.UnknownLabelError, match="'closed': write open or close"):
            read_bar_file(write(OHLCV), label="closed")

    def test_the_adjusted_close_stands_beside_the_raw_one(self, write):
        path = write(
            "Date,Open,High,Low,Close,Adj Close,Volume", *bars("2024-01-02", "2024-01-03", end="1,1,1,1,0.9,1")
        )
        (series,) = read_bar_file(path).series
        assert series.adjusted_close is not None
        assert series.adjusted_close.to_list() == [0.9, 0.9]
        assert series.rows["close"].to_list() == [1, 1]

    def test_stamps_too_few_to_measure_a_timeframe(self, write):
        path = write(OHLCV, *bars(*minutes(1)))
        with pytest.raises(errors.UnmeasurableTimeframeError, match="--timeframe"):
            read_bar_file(path)
        assert read_bar_file(path, timeframe="1m").timeframe == "1m"


class TestContainers:
    LINES = "\n".join([OHLCV, *bars(*minutes(5))]).encode()

    def zipped(self, **members: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return packed.getvalue()

    @pytest.mark.parametrize("kind", ["plain", "gzip", "zip", "parquet", "records", "lists"])
    def test_the_same_bars_in_any_wrapping(self, write, kind):
        plain = read_bar_file(write(self.LINES))
        frame = rows(plain).drop("line")
        parquet = io.BytesIO()
        frame.write_parquet(parquet)
        table = [
            {"start": str(int(row[0].timestamp())), **dict(zip(BITS, map(str, row[1:]), strict=True))}
            for row in frame.rows()
        ]
        lists = [[int(row[0].timestamp() * 1_000), *row[1:]] for row in frame.rows()]
        name, content = {
            "plain": ("a.csv", self.LINES),
            "gzip": ("a.csv.gz", gzip.compress(self.LINES, mtime=0)),
            "zip": ("a.zip", self.zipped(**{"a.csv": self.LINES})),
            "parquet": ("a.parquet", parquet.getvalue()),
            "records": ("a.json", json.dumps({"candles": table}).encode()),
            "lists": ("a.json.gz", gzip.compress(json.dumps(lists).encode(), mtime=0)),
        }[kind]
        assert rows(read_bar_file(write(content, name=name))).equals(rows(plain))

    @pytest.mark.parametrize(
        ("name", "content", "error", "match"),
        [
            ("a.csv", b"PAR1....PAR1", errors.DisguisedFileError, "holds Parquet, its name promises text"),
            ("a.parquet", LINES, errors.DisguisedFileError, "holds text, its name promises Parquet"),
            ("a.csv", gzip.compress(LINES, mtime=0), errors.DisguisedFileError, "holds gzip, its name promises text"),
            ("a.csv.gz", LINES, errors.DisguisedFileError, "holds text, its name promises gzip"),
            ("a.zip", LINES, errors.DisguisedFileError, "holds text, its name promises a zip archive"),
            ("a.csv.gz", gzip.compress(b"[[1]]", mtime=0), errors.DisguisedFileError, "holds JSON, its name promises text"),
            ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0", errors.DisguisedFileError, "holds binary data"),
            ("a.csv", b"date,open\n\xff\xfa,1\n", errors.DamagedFileError, "no UTF-8 text"),
            ("a.csv.gz", gzip.compress(LINES, mtime=0)[:-20], errors.DamagedFileError, "half written"),
            ("a.csv.gz", gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), errors.DisguisedFileError, "holds binary data"),
            ("a.parquet", b"PAR1 and then nothing PAR1", errors.DamagedFileError, "no Parquet file"),
            ("a.json", b'{"candles": [', errors.DamagedFileError, "no JSON"),
            ("a.json", b"[" * 100_000, errors.DamagedFileError, "no JSON"),
            ("a.json", b'{"error": "quota"}', errors.UnknownLayoutError, "JSON with the keys error"),
            ("a.json", b"[]", errors.UnknownLayoutError, "a JSON list of 0"),
            ("a.csv", b"<!DOCTYPE html><html>", errors.UnknownLayoutError, "DOCTYPE"),
            ("a.csv", b"", errors.NoDataError, "it is empty"),
            ("a.csv", LINES + b"\n2024-01-02 10:05:00,10,1", errors.RaggedRowError, "a.csv:7: 3 fields, expected 6"),
            ("a.csv", LINES + b'\n"2024-01-02 10:05:00,1,1,1,1,1', errors.DamagedFileError, "line 7 opens a quote"),
        ],
    )  # fmt: skip
    def test_a_file_that_is_not_what_it_should_be_is_refused_with_a_sentence(self, write, name, content, error, match):
        with pytest.raises(error, match=match):
            read_bar_file(write(content, name=name))

    @pytest.mark.parametrize(
        ("members", "match"),
        [
            ({"a.csv": LINES, "b.csv": LINES}, "an archive of 2 files"),
            ({}, "damaged|archive of 0 files|its name promises"),
            ({"../../a.csv": LINES}, "points outside it"),
            ({"/etc/a.csv": LINES}, "points outside it"),
        ],
    )
    def test_an_archive_of_anything_but_one_file_inside_it_is_refused(self, write, members, match):
        with pytest.raises(errors.UnreadableFileError, match=match):
            read_bar_file(write(self.zipped(**members), name="a.zip"))

    def test_nothing_is_unpacked_to_the_disk(self, write, tmp_path):
        read_bar_file(write(self.zipped(**{"a.csv": self.LINES}), name="a.zip"))
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    def test_a_first_line_with_an_endless_field_is_refused(self, write):
        path = write("x" * 131_073 + "," + OHLCV, *bars(*minutes(3)))
        with pytest.raises(errors.DamagedFileError, match="first line cannot be split"):
            read_bar_file(path)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize("after", ["", "\n"])
    def test_a_line_is_read_up_to_a_length_and_no_further(self, write, monkeypatch, encoding, after):
        monkeypatch.setattr(opened, "LONGEST_LINE", 100)
        monkeypatch.setattr(opened, "_HEAD", 4)
        good = "\n".join([OHLCV, *bars(*minutes(3))])
        longest = f"{'2024-01-02 10:03:00,1,1,1,1,5.':0<100}"
        assert rows(read_bar_file(write(f"{good}\n{longest}{after}".encode(encoding)))).height == 4
        with pytest.raises(errors.DamagedFileError, match="a line of more than"):
            read_bar_file(write(f"{good}\n{longest}0{after}".encode(encoding)))

    def test_a_zip_with_a_damaged_lzma_member_is_refused(self, write):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a.csv", self.LINES)
        content = bytearray(packed.getvalue())
        content[39:44] = b"\xff" * 5  # the filter's properties, behind the name and four bytes of a version
        with pytest.raises(errors.DamagedFileError):
            read_bar_file(write(bytes(content), name="a.zip"))

    def test_a_zip_of_very_many_members_is_refused_before_they_are_listed(self, write, monkeypatch):
        def unlisted(*_: object) -> None:
            pytest.fail("the members were listed")

        content = self.zipped(**{f"{n}.csv": b"" for n in range(17)})
        monkeypatch.setattr(zipfile, "ZipFile", unlisted)
        with pytest.raises(errors.ArchiveContentError, match="an archive of 17 members"):
            read_bar_file(write(content, name="a.zip"))

    def test_a_zip_that_is_silent_of_its_many_members_is_refused_by_the_size_of_their_list(self, write):
        content = bytearray(self.zipped(**{f"{n}.csv": b"" for n in range(2_000)}))
        content[-14:-10] = b"\1\0\1\0"
        with pytest.raises(errors.ArchiveContentError, match="whose list alone has"):
            read_bar_file(write(bytes(content), name="a.zip"))

    def test_a_zip_of_the_large_kind_is_read_and_its_members_are_counted(self, write, monkeypatch):
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
        one = self.zipped(**{"a.csv": self.LINES})
        many = self.zipped(**{f"{n}.csv": b"" for n in range(17)})
        monkeypatch.undo()
        assert b"PK\6\7" in one
        assert rows(read_bar_file(write(one, name="a.zip"))).height == 5
        with pytest.raises(errors.ArchiveContentError, match="17 members"):
            read_bar_file(write(many, name="a.zip"))

    @pytest.mark.parametrize(
        ("dtype", "day", "far"),
        [
            (pl.Date(), 1, 2**31 - 8),
            *((pl.Datetime("ms", zone), 86_400_000, 2**62) for zone in (None, "UTC", "Asia/Tokyo")),
            (pl.Datetime("us", "UTC"), 86_400_000_000, 2**62),
            (pl.Datetime("ns"), 86_400_000_000_000, 2**63 - 1),
        ],
    )
    def test_a_stamp_of_a_parquet_that_no_year_has_is_unreadable(self, tmp_path, dtype, day, far):
        stamped = pl.Series([0, day, 2 * day, far]).cast(pl.Int32() if dtype == pl.Date else pl.Int64()).cast(dtype)
        path = tmp_path / "a.parquet"
        pl.DataFrame({"date": stamped, **{name: [value] * 4 for name, value in BITS.items()}}).write_parquet(path)
        assert [ts and ts[:4] for ts in stamps(read_bar_file(path))] == ["1970", "1970", "1970", None]

    def test_a_panic_of_polars_is_a_damaged_file(self, write, monkeypatch):
        said = "out-of-range date"

        def panics(*_: object) -> None:
            raise pl.exceptions.PanicException(said)

        monkeypatch.setattr("resources.bar_files.reading.open_table", panics)
        with pytest.raises(errors.DamagedFileError, match="out-of-range date"):
            read_bar_file(write(self.LINES))

    def test_a_parquet_with_cells_that_hold_lists_is_refused_before_a_row_is_read(self, tmp_path, monkeypatch):
        path = tmp_path / "a.parquet"
        pl.DataFrame({"date": [date(2024, 1, 2)], "open": [[0.0] * 1_000]}).write_parquet(path)
        monkeypatch.setattr(pl.LazyFrame, "collect", lambda *_, **__: pytest.fail("a row was read"))
        with pytest.raises(errors.UnknownLayoutError, match=r"'open' \(List\(Float64\)\) are no single values"):
            read_bar_file(path)

    @pytest.mark.parametrize("name", ["a.csv.gz", "a.zip"])
    def test_a_bomb_is_not_unpacked(self, write, monkeypatch, name):
        monkeypatch.setattr(opened, "_FREE_BYTES", 1 << 20)
        bomb = OHLCV.encode() + b"\n" + b"0" * (1 << 23)
        content = gzip.compress(bomb, mtime=0) if name.endswith("gz") else self.zipped(**{"a.csv": bomb})
        with pytest.raises(errors.OversizedFileError, match="unpacks to more than its size allows"):
            read_bar_file(write(content, name=name))

    @pytest.mark.parametrize("content", [b"[[1, 1, 1, 1, 1, 1]]", "date,open".encode("utf-16")])
    def test_what_cannot_be_read_in_chunks_has_a_smaller_limit(self, write, monkeypatch, content):
        monkeypatch.setattr(opened, "MAX_WHOLE_BYTES", 10)
        monkeypatch.setattr(opened, "_HEAD", 4)
        with pytest.raises(errors.OversizedFileError, match="cannot be read piece by piece"):
            read_bar_file(write(content, name="bars"))

    def test_a_file_over_the_limit_is_not_opened(self, tmp_path):
        path = tmp_path / "large.csv"
        with path.open("wb") as file:
            file.truncate(2 << 30)
        with pytest.raises(errors.OversizedFileError, match="2,048 MiB, at most 1,024 MiB"):
            read_bar_file(path)

    def test_what_is_no_file_is_refused(self, tmp_path):
        pipe = tmp_path / "pipe.csv"
        os.mkfifo(pipe)
        for path in (tmp_path, tmp_path / "absent.csv", pipe, Path("a\0b")):
            with pytest.raises(errors.NoSuchFileError):
                read_bar_file(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_may_not_be_read_is_refused(self, write):
        path = write(self.LINES)
        path.chmod(stat.S_IWUSR)
        with pytest.raises(errors.NoSuchFileError, match="Permission denied"):
            read_bar_file(path)

    @pytest.mark.slow
    def test_a_line_is_whole_wherever_the_chunks_are_cut(self, write, monkeypatch):
        lines = [OHLCV, *bars(*minutes(500))]
        whole = rows(read_bar_file(write(*lines)))
        for size in (300, 331, 1_000):
            monkeypatch.setattr(opened, "CHUNK", size)
            monkeypatch.setattr(opened, "_HEAD", 256)
            assert rows(read_bar_file(write(*lines))).equals(whole)

    def test_a_row_is_numbered_over_all_chunks(self, write, monkeypatch):
        monkeypatch.setattr(opened, "CHUNK", 300)
        with pytest.raises(errors.RaggedRowError, match=r"bars.csv:405: 2 fields"):
            read_bar_file(write("", OHLCV, *bars(*minutes(200)), "", "", *bars(*minutes(200)), "2024-01-02,1"))


prices = st.floats(1e-8, 1e12)
AFTER_ZONES, BEFORE_NOW = (datetime.fromisoformat(f"{year}-01-01") for year in (1991, 2024))  # local times
LAWS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@LAWS
@given(st.lists(st.tuples(prices, prices, prices, prices, st.floats(0, 1e15)), min_size=2, max_size=20))
def test_what_was_written_is_what_is_read(tmp_path, values):
    """To the last bit, in order, every row."""
    path = tmp_path / "bars.csv"
    ordered = [(o, max(o, h, lo, c), min(o, h, lo, c), c, v) for o, h, lo, c, v in values]
    lines = [",".join([ts, *map(repr, row)]) for ts, row in zip(minutes(len(ordered)), ordered, strict=True)]
    path.write_text("\n".join([OHLCV, *lines]))
    found = rows(read_bar_file(path))
    assert found.select([*BITS]).rows() == ordered
    assert found.schema == RECEIVED


@pytest.mark.slow
@LAWS
@given(
    st.lists(st.datetimes(AFTER_ZONES, BEFORE_NOW), min_size=1, max_size=30),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe"]),
)
def test_a_local_stamp_is_its_instant_by_the_rules_of_its_zone_or_nothing(tmp_path, walls, zone):
    """Python's own zone rules agree; what they find twice or not at all is null."""
    walls = [wall.replace(microsecond=0) for wall in walls]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([OHLCV, *bars(*(f"{wall:%Y-%m-%d %H:%M:%S}" for wall in walls))]))
    folds = [[wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)] for wall in walls]
    expected = [early if early == late else None for early, late in folds]
    assert rows(read_bar_file(path, timezone=zone, timeframe="1m"))["ts"].to_list() == expected


@LAWS
@given(st.binary(max_size=400))
def test_junk_is_refused_and_never_raises_anything_else(tmp_path, junk):
    path = tmp_path / "bars"
    path.write_bytes(junk)
    with pytest.raises(errors.UnreadableFileError):
        read_bar_file(path)


@LAWS
@given(st.text(alphabet='0123456789-:,;."\n eE+Z', max_size=200))
def test_damaged_text_below_a_good_header_is_read_or_refused(tmp_path, text):
    path = tmp_path / "bars.csv"
    path.write_text("\n".join([OHLCV, *bars(*minutes(4)), text]))
    try:
        found = rows(read_bar_file(path))
    except errors.UnreadableFileError:
        return
    assert found.head(4).select([*BITS]).rows() == [tuple(BITS.values())] * 4
