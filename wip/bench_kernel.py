import sys
MONEY="money" in sys.argv
src=open("/tmp/kw/bench.py").read().replace("perf_counter","thread_time")
src=src.split("S.ready()\n",1)
exec(src[0])
fund=[Funding(int(t),0,1e-4) for t in ts[::96]]
def setup_all(d,rules):
    o,h,l,c,x,y=d; g=lambda a:np.ascontiguousarray(a.reshape(-1,1)); no=np.zeros((T,1),bool)
    r=np.random.default_rng(3); f=1+r.normal(0,1e-5,T)
    m=Market(ts,ts+M5,g(o),g(h),g(l),g(c),np.ones((T,1)),np.zeros((T,1)),volumes=np.full((T,1),1e6),mark_opens=g(o*f),mark_highs=g(h*1.0001),mark_lows=g(l*.9999),mark_closes=g(c*f),funding=fund)
    m=m._replace(mark_opens=g(np.clip(o*f,l*.9999,h*1.0001)),mark_closes=g(np.clip(c*f,l*.9999,h*1.0001)))
    dec=Decisions(g(x),g(y),g(y),g(x),np.full((T,1),np.nan),no)
    return tape_of(m,dec,[Instrument("X",0.01,0.0001,5,1.0,kind="linear",leverage=3)],rules)
every=Rules(1e6,Size("risk_per_trade",.005,cap=2.),fees,exits=Exits(stop=Stop(atr=3.,length=14),trail=Trail(atr=5.,length=14),targets=DEFAULT_LADDER,break_even_after=1),slippage=Slippage("square_root",y=.5,days=20),participation=.1,
  guards=Guards(max_position=3.,max_gross_exposure=3.,max_net_exposure=3.,max_leverage=3.,max_open_positions=3,max_daily_loss=.2,max_drawdown=.9,kill_switch=.95,global_trade_spacing=60,symbol_cooldown_active=Cooldown(60,600),max_trades_per_hour=10,max_trades_per_day=40,loss_streak_cooldown=LossStreak(20,3600)))
S.ready()
eq=np.empty(T); tr=np.empty(4096); floor(*D[0],eq,tr)
bf=sum(min((lambda a:(floor(*d,np.empty(T),tr),time.thread_time()-a)[1])(time.thread_time()) for _ in range(6)) for d in D)/8
print("floor ns/bar",bf/T*1e9)
from engine.simulator import drivers as DR
for name,r,mk in (("off",off,setup),("typical",typ,setup),("everything",every,setup_all)):
    tapes=[mk(d,r) for d in D]
    for drv in (S.run,)+((DR.run_every_bar,) if len(sys.argv)>1 else ()):
        best=9e9; per=[9e9]*8
        for rep in range(6):
            tot=0; fl=0
            for q,tp in enumerate(tapes):
                desk=desk_of(tp,1e6); logs=logs_of(T,(20000,8000,40000),money=MONEY); a=time.thread_time(); drv(tp,desk,logs,0,T); per[q]=min(per[q],time.thread_time()-a)
        best=sum(per)/8
        ac=desk.accounts[0]
        print(name,drv.__name__,"ns/bar %.2f x %.2f"%(best/T*1e9,best/bf),"trades",ac["n_trades"],"fills",ac["n_fills"],"orders",ac["n_orders"], ac["equity"],ac["killed"])
