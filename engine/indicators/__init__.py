"""The indicators a strategy may import, one line each: `from engine.indicators import sma`.

The line names a function of this package and enters it in the registry with what cannot be seen from
the function: the units of its values, where it was published, what it reads, and the bounds of its
parameters. It is the one place in the project where names are offered beside the module that owns
them, because this is what a user writes in a strategy of ten lines: the files behind may be moved, the
name may not. Data sets and the command line reach the same functions by name (`registry.indicator`).
"""

from engine.indicators import averages, momentum, prices, regression, structure, trend, volatility, volume
from engine.indicators.registry import Bounds, above, registered, whole

_PRICE, _SAME, _PERCENT, _RATIO, _BARS = "price", "as the input", "percent", "ratio", "bars"
_STRENGTH, _SWING, _VOLUME, _MONEY = "0 to 100", "-100 to 100", "volume", "price × volume"
_BAR, _HLC, _HL, _HLCV = "open high low close", "high low close", "high low", "high low close volume"
_WILDER = "Wilder, New Concepts in Technical Trading Systems (1978)"
_BANDS = "Bollinger, Bollinger on Bollinger Bands (2001)"
_CHANDE = "Chande and Kroll, The New Technical Trader (1994)"
_KAUFMAN = "Kaufman, Trading Systems and Methods (1995)"
_WILLIAMS = "Williams, New Trading Dimensions (1998)"

# averages
sma = registered(averages.sma, _SAME, "TA-Lib SMA", length=whole(1))
ema = registered(averages.ema, _SAME, "TA-Lib EMA", nulls="rest", length=whole(2))
rma = registered(averages.rma, _SAME, _WILDER, nulls="rest", length=whole(2))
wma = registered(averages.wma, _SAME, "TA-Lib WMA", nulls="rest", length=whole(2))
dema = registered(averages.dema, _SAME, "Mulloy, Stocks & Commodities 12:1 (1994)", nulls="rest", length=whole(2))
tema = registered(averages.tema, _SAME, "Mulloy, Stocks & Commodities 12:1 (1994)", nulls="rest", length=whole(2))
t3 = registered(
    averages.t3, _SAME, "Tillson, Stocks & Commodities 16:1 (1998)",
    nulls="rest", length=whole(2), volume_factor=Bounds(0.0, 1.0),
)  # fmt: skip
kama = registered(averages.kama, _SAME, _KAUFMAN, nulls="rest", length=whole(2))
trima = registered(averages.trima, _SAME, "TA-Lib TRIMA", length=whole(2))
hma = registered(averages.hma, _SAME, "Hull, Active Investing (2005)", nulls="rest", length=whole(4))
zlema = registered(averages.zlema, _SAME, "Ehlers and Way, Zero Lag (2010)", nulls="rest", length=whole(2))
vwma = registered(averages.vwma, _PRICE, "Buff Dormeier, 2001", inputs="close volume", length=whole(1))
midpoint = registered(averages.midpoint, _SAME, "TA-Lib MIDPOINT", length=whole(1))
midprice = registered(averages.midprice, _PRICE, "TA-Lib MIDPRICE", inputs=_HL, length=whole(1))

# prices
avgprice = registered(prices.avgprice, _PRICE, "TA-Lib AVGPRICE", inputs=_BAR)
medprice = registered(prices.medprice, _PRICE, "TA-Lib MEDPRICE", inputs=_HL)
typprice = registered(prices.typprice, _PRICE, "TA-Lib TYPPRICE", inputs=_HLC)
wclprice = registered(prices.wclprice, _PRICE, "TA-Lib WCLPRICE", inputs=_HLC)
heikin_ashi = registered(
    prices.heikin_ashi, _PRICE, "Valcu, Stocks & Commodities 22:2 (2004)", inputs=_BAR, nulls="rest"
)

# trend
plus_dm = registered(trend.plus_dm, _PRICE, _WILDER, inputs=_HL, nulls="rest", length=whole(2))
minus_dm = registered(trend.minus_dm, _PRICE, _WILDER, inputs=_HL, nulls="rest", length=whole(2))
plus_di = registered(trend.plus_di, _STRENGTH, _WILDER, inputs=_HLC, nulls="rest", length=whole(2))
minus_di = registered(trend.minus_di, _STRENGTH, _WILDER, inputs=_HLC, nulls="rest", length=whole(2))
dx = registered(trend.dx, _STRENGTH, _WILDER, inputs=_HLC, nulls="rest", length=whole(2))
adx = registered(trend.adx, _STRENGTH, _WILDER, inputs=_HLC, nulls="rest", length=whole(2))
adxr = registered(trend.adxr, _STRENGTH, _WILDER, inputs=_HLC, nulls="rest", length=whole(2))
aroon = registered(trend.aroon, _STRENGTH, _CHANDE, inputs=_HL, length=whole(2))
aroonosc = registered(trend.aroonosc, _SWING, _CHANDE, inputs=_HL, length=whole(2))
vortex = registered(
    trend.vortex, _RATIO, "Botes and Siepman, Stocks & Commodities 28:1 (2010)", inputs=_HLC, length=whole(1)
)
vhf = registered(trend.vhf, _RATIO, "White, Futures (1991)", length=whole(2))
sar = registered(
    trend.sar, _PRICE, _WILDER, inputs=_HL, nulls="rest", anchor="start", step=above(0.0, most=1.0), limit=above(0.0, most=1.0)
)  # fmt: skip
supertrend = registered(
    trend.supertrend, (_PRICE, "1 or -1"), "Seban, Le Supertrend (2008)",
    inputs=_HLC, nulls="rest", anchor="start", length=whole(2), width=above(0.0),
)  # fmt: skip
ichimoku = registered(
    trend.ichimoku, _PRICE, "Hosoda, Ichimoku Kinko Hyo (1969)",
    inputs=_HL, conversion=whole(1), base=whole(1), span=whole(1), displacement=Bounds(0, 100_000),
)  # fmt: skip

# lines through prices
linearreg = registered(regression.linearreg, _SAME, "TA-Lib LINEARREG", nulls="rest", length=whole(2))
linearreg_slope = registered(
    regression.linearreg_slope, "input per bar", "TA-Lib LINEARREG_SLOPE", nulls="rest", length=whole(2)
)
linearreg_intercept = registered(
    regression.linearreg_intercept, _SAME, "TA-Lib LINEARREG_INTERCEPT", nulls="rest", length=whole(2)
)
linearreg_angle = registered(
    regression.linearreg_angle, "degrees", "TA-Lib LINEARREG_ANGLE", nulls="rest", length=whole(2)
)
tsf = registered(regression.tsf, _SAME, "TA-Lib TSF", nulls="rest", length=whole(2))
fosc = registered(regression.fosc, _PERCENT, _CHANDE, nulls="rest", length=whole(2))

# momentum
mom = registered(momentum.mom, _SAME, "TA-Lib MOM", length=whole(1))
roc = registered(momentum.roc, _PERCENT, "TA-Lib ROC", length=whole(1))
rsi = registered(momentum.rsi, _STRENGTH, _WILDER, nulls="rest", length=whole(2))
cmo = registered(momentum.cmo, _SWING, "TA-Lib CMO", nulls="rest", length=whole(2))
cmou = registered(momentum.cmou, _SWING, _CHANDE, length=whole(1))
er = registered(momentum.er, _RATIO, _KAUFMAN, length=whole(1))
stoch = registered(
    momentum.stoch, _STRENGTH, "Lane, Stocks & Commodities 2:3 (1984)",
    inputs=_HLC, length=whole(1), smooth=whole(1), signal=whole(1),
)  # fmt: skip
stochrsi = registered(
    momentum.stochrsi, _STRENGTH, _CHANDE, nulls="rest", length=whole(2), window=whole(2), signal=whole(1)
)  # fmt: skip
willr = registered(
    momentum.willr, "-100 to 0", "Williams, How I Made One Million Dollars (1973)", inputs=_HLC, length=whole(2)
)
cci = registered(momentum.cci, "mean distances", "Lambert, Commodities 9:10 (1980)", inputs=_HLC, length=whole(2))
bop = registered(momentum.bop, "-1 to 1", "Livshin, Stocks & Commodities 19:8 (2001)", inputs=_BAR)
macd = registered(
    momentum.macd, _SAME, "Appel, The Moving Average Convergence Divergence Method (1979)",
    nulls="rest", fast=whole(2), slow=whole(2), signal=whole(1),
)  # fmt: skip
apo = registered(momentum.apo, _SAME, "TA-Lib APO", nulls="rest", fast=whole(2), slow=whole(2))
ppo = registered(
    momentum.ppo, _PERCENT, "StockCharts ChartSchool, PPO", nulls="rest", fast=whole(2), slow=whole(2), signal=whole(2)
)  # fmt: skip
trix = registered(momentum.trix, _PERCENT, "Hutson, Stocks & Commodities 1:5 (1983)", nulls="rest", length=whole(2))
ultosc = registered(
    momentum.ultosc, _STRENGTH, "Williams, Stocks & Commodities 3:4 (1985)",
    inputs=_HLC, short=whole(1), medium=whole(1), long=whole(1),
)  # fmt: skip
tsi = registered(
    momentum.tsi, _SWING, "Blau, Stocks & Commodities 9:11 (1991)", nulls="rest", slow=whole(2), fast=whole(2)
)
smi = registered(
    momentum.smi, _SWING, "Blau, Stocks & Commodities 11:1 (1993)",
    inputs=_HLC, nulls="rest", length=whole(1), slow=whole(2), fast=whole(2), signal=whole(2),
)  # fmt: skip
ao = registered(momentum.ao, _PRICE, _WILLIAMS, inputs=_HL, fast=whole(1), slow=whole(1))
ac = registered(momentum.ac, _PRICE, _WILLIAMS, inputs=_HL, fast=whole(1), slow=whole(1), signal=whole(1))
dpo = registered(momentum.dpo, _SAME, "StockCharts ChartSchool, DPO", length=whole(1))
coppock = registered(
    momentum.coppock, _PERCENT, "Coppock, Barron's (1962)", nulls="rest", length=whole(2), fast=whole(1), slow=whole(1)
)  # fmt: skip
qstick = registered(momentum.qstick, _PRICE, _CHANDE, inputs="open close", length=whole(1))
imi = registered(momentum.imi, _STRENGTH, _CHANDE, inputs="open close", length=whole(2))
eri = registered(momentum.eri, _PRICE, "Elder, Trading for a Living (1993)", inputs=_HLC, nulls="rest", length=whole(2))

# volatility
trange = registered(volatility.trange, _PRICE, _WILDER, inputs=_HLC)
atr = registered(volatility.atr, _PRICE, _WILDER, inputs=_HLC, nulls="rest", length=whole(1))
natr = registered(volatility.natr, _PERCENT, "TA-Lib NATR", inputs=_HLC, nulls="rest", length=whole(1))
adr = registered(volatility.adr, _PRICE, "TA-Lib ADR", inputs=_HL, length=whole(1))
stddev = registered(volatility.stddev, _SAME, "TA-Lib STDDEV", length=whole(1))
var = registered(volatility.var, "input squared", "TA-Lib VAR", length=whole(1))
avgdev = registered(volatility.avgdev, _SAME, "TA-Lib AVGDEV", length=whole(2))
zscore = registered(volatility.zscore, "deviations", "standard score", length=whole(2))
percentrank = registered(volatility.percentrank, _STRENGTH, "TA-Lib PERCENTRANK", length=whole(2))
historical_volatility = registered(
    volatility.historical_volatility, _RATIO, "Hull, Options, Futures, and Other Derivatives", length=whole(2)
)  # fmt: skip
bollinger = registered(volatility.bollinger, _SAME, _BANDS, length=whole(1), width=above(0.0))
percent_b = registered(volatility.percent_b, _RATIO, _BANDS, length=whole(2), width=above(0.0))
bandwidth = registered(volatility.bandwidth, _RATIO, _BANDS, length=whole(1), width=above(0.0))
keltner = registered(
    volatility.keltner, _PRICE, "Raschke's version of Keltner's channel; StockCharts ChartSchool",
    inputs=_HLC, nulls="rest", length=whole(2), atr_length=whole(1), width=above(0.0),
)  # fmt: skip
donchian = registered(
    volatility.donchian, _PRICE, "Donchian, Trend-Following Methods (1960)", inputs=_HL, length=whole(1)
)
chandelier = registered(
    volatility.chandelier, _PRICE, "Le Beau, StockCharts ChartSchool", inputs=_HLC, nulls="rest", length=whole(1), width=above(0.0)
)  # fmt: skip
massi = registered(
    volatility.massi, "bars' sum", "Dorsey, Stocks & Commodities 10:6 (1992)",
    inputs=_HL, nulls="rest", fast=whole(2), slow=whole(1),
)  # fmt: skip
cvi = registered(
    volatility.cvi, _PERCENT, "Chaikin; TA-Lib CVI", inputs=_HL, nulls="rest", length=whole(2), change=whole(1)
)
chop = registered(volatility.chop, _STRENGTH, "Dreiss, Choppiness (1993)", inputs=_HLC, length=whole(2))

# volume
obv = registered(volume.obv, _VOLUME, "Granville (1963)", inputs="close volume", nulls="rest", anchor="start")
ad = registered(volume.ad, _VOLUME, "Chaikin; TA-Lib AD", inputs=_HLCV, nulls="rest", anchor="start")
adosc = registered(
    volume.adosc, _VOLUME, "Chaikin; TA-Lib ADOSC", inputs=_HLCV, nulls="rest", fast=whole(2), slow=whole(2)
)
pvt = registered(volume.pvt, _VOLUME, "TA-Lib PVT", inputs="close volume", nulls="rest", anchor="start")
nvi = registered(
    volume.nvi, "index", "Fosback, Stock Market Logic (1976)", inputs="close volume", nulls="rest", anchor="start"
)
pvi = registered(
    volume.pvi, "index", "Fosback, Stock Market Logic (1976)", inputs="close volume", nulls="rest", anchor="start"
)
wad = registered(volume.wad, _PRICE, _WILLIAMS, inputs=_HLC, nulls="rest", anchor="start")
mfi = registered(
    volume.mfi, _STRENGTH, "Quong and Soudack, Stocks & Commodities 7:3 (1989)", inputs=_HLCV, length=whole(1)
)
cmf = registered(volume.cmf, "-1 to 1", "Chaikin; StockCharts ChartSchool", inputs=_HLCV, length=whole(1))
efi = registered(
    volume.efi, _MONEY, "Elder, Trading for a Living (1993)", inputs="close volume", nulls="rest", length=whole(2)
)
pvo = registered(
    volume.pvo, _PERCENT, "StockCharts ChartSchool, PVO",
    inputs="volume", nulls="rest", fast=whole(2), slow=whole(2), signal=whole(2),
)  # fmt: skip
marketfi = registered(volume.marketfi, "price per volume", _WILLIAMS, inputs="high low volume")
emv = registered(
    volume.emv, "price² per volume", "Arms, Volume Cycles in the Stock Market (1994)", inputs="high low volume"
)
rvol = registered(volume.rvol, _RATIO, "TA-Lib RVOL", inputs="volume", length=whole(1))
vwap = registered(
    volume.vwap, _PRICE, "Berkowitz, Logue and Noser, Journal of Finance 43:1 (1988)",
    inputs="high low close volume session", nulls="session", anchor="session",
)  # fmt: skip

# structure
highest = registered(structure.highest, _SAME, "TA-Lib MAX", length=whole(1))
lowest = registered(structure.lowest, _SAME, "TA-Lib MIN", length=whole(1))
pivots = registered(
    structure.pivots, (_PRICE, _BARS, _PRICE, _BARS), _WILLIAMS, inputs=_HL, nulls="skipped", anchor="start", strength=whole(1)
)  # fmt: skip
