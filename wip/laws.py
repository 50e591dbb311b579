import os,sys,pickle,traceback,time
os.environ['NUMBA_DISABLE_JIT']='1'
sys.path.insert(0,'/work/sim')
from hypothesis import given,settings,HealthCheck,assume,seed,Phase
from tests.engine.test_fills_oracle import portfolios,scenarios
from tests.engine.test_kernel_twin import assert_agree
which,n,sd=sys.argv[1],int(sys.argv[2]),int(sys.argv[3])
bad=[];count=[0]
gen=scenarios() if which=='one' else portfolios()
@seed(sd)
@settings(max_examples=n,deadline=None,database=None,phases=[Phase.generate],suppress_health_check=list(HealthCheck))
@given(gen)
def t(s):
    if which!='one':
        times = {row[0] for rows in s["bars"].values() for row in rows}
        happens = [*s["decisions"], *s["actions"]]
        assume(all(one["bar"] < len(times) for one in happens))
        present = {name: {row[0] for row in rows} for name, rows in s["bars"].items()}
        clock = sorted(times)
        assume(all(clock[one["bar"]] in present[one["instrument"]] for one in s["actions"]))
    count[0]+=1
    try: assert_agree(s)
    except BaseException as e:
        if isinstance(e,KeyboardInterrupt): raise
        bad.append((s,type(e).__name__+': '+str(e)[:150]))
t0=time.time()
t()
print(which,sd,count[0],'bad',len(bad),round(time.time()-t0))
pickle.dump(bad,open(f'/tmp/i5/bad_{which}_{sd}.pkl','wb'))
for s,e in bad[:40]: print(len(repr(s)),e)
