import os,sys,pickle,copy,signal,time
os.environ['NUMBA_DISABLE_JIT']='1'
sys.path[:0]=['/work/sim','/tmp/i5']
import shrink
from engine.simulator.scenario import simulated
from tests.fills_oracle import replayed
bad=pickle.load(open(sys.argv[1],'rb')); lim=int(sys.argv[2]); seen=set()
for n,(s,e) in enumerate(bad):
    k=e.split(':')[1].split('[')[0]+e.split(']')[-1].split(':')[0] if '[' in e else e[:40]
    if k in seen or len(seen)>=lim: continue
    seen.add(k)
    def boom(*a): raise TimeoutError
    signal.signal(signal.SIGALRM,boom); signal.alarm(25)
    try: s,e=shrink.shrink(s)
    except TimeoutError: s=getattr(shrink,'BEST',s)
    signal.alarm(0)
    print('-----',n,e)
    for key,v in s.items():
        if v: print('  ',key,v)
    for nm,f in (('kernel',simulated),('twin',replayed)):
        try: a=f(copy.deepcopy(s))
        except Exception as x: print(nm,repr(x)[:300]); continue
        print(' ',nm)
        for o in a['orders']: print('    ',[o[q] for q in('id','decided_on','instrument','side','type','requested','quantity','filled','price','trigger','status','reason')])
        for o in a['fills']: print('    ',[o[q] for q in('id','order','bar','instrument','side','quantity','price','liquidity','why','ambiguous')])
        for o in a['trades']: print('    ',[o[q] for q in('id','entry_bar','exit_bar','quantity','exit_reason','pnl','mae','mfe','ambiguous')])
        print('    ',a['equity'],a['warnings'])
