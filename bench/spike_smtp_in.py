import asyncio, sys, os, time, io, cProfile, pstats, resource

sys.path.insert(0, "/work/main")
import uvloop
from smtpfleet.contracts.configuration import *
from smtpfleet.contracts.commands import *
from smtpfleet.contracts.subjects import *
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.smtp_in.committer import Committer
from smtpfleet.smtp_in.gate import Gate
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.listener import Listeners
from smtpfleet.smtp_in.server import Connection, Server
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.settings import RoleSettings

N = int(sys.argv[2]) if sys.argv[1] == "run" and len(sys.argv) > 2 else 5000
PROFILE = len(sys.argv) > 3


def conf(port):
    loc = Location("f", 1, 1)
    rules = (
        Rule(
            loc,
            (Condition("source", ANY_HOST, False), Condition("destination", "local", False)),
            LocalAction("maildir", "~/Maildir", "aliases", "", "users"),
            345600,
        ),
        Rule(
            loc,
            (Condition("source", LOCAL_HOST, False), Condition("destination", ANY_DESTINATION, False)),
            RelayAction("", 0, "opportunistic", False, "", "", "", "", "", ""),
            345600,
        ),
    )
    import dataclasses

    lim = Limits(100, 10, 100, 10, 50, 7, 1000, 1000000)
    return Configuration(
        version="1",
        hostname="mx.example.test",
        listeners=(Listener("127.0.0.1", port, "mx.example.test", ""),),
        tables={
            "local": Table("local", "list", "static", "", {"example.test": ""}),
            "aliases": Table("aliases", "mapping", "static", "", {"root": "alice"}),
            "users": Table("users", "mapping", "static", "", {"alice": "1000:1000:/home/alice"}),
        },
        rules=rules,
        limits=lim,
        max_message_size_bytes=36700160,
        expire_s=345600,
        bounce_warn_s=(),
    )


async def answer(payload):
    await asyncio.sleep(0.004)
    return CommitReply([CommitVerdict.OK] * len(payload.messages))


async def queue_main(url):
    log = MailLog("queue", stream=open("/dev/null", "w"))
    b = Bus("queue", RoleSettings(replica="q", nats_url=url), log)
    await b.connect()
    await b.serve(QUEUE_MESSAGE_COMMIT, answer)
    await asyncio.sleep(3600)


def len_b(n):
    from smtpfleet.smtp_in.committer import _batch

    return [(s.value) for s in _batch.collect()[0].samples if s.name.endswith(("count", "sum"))]


async def main(url):
    log = MailLog("smtp-in", stream=open("/tmp/spike.log", "w"))
    bus = Bus("smtp-in", RoleSettings(replica="a", nats_url=url), log)
    await bus.connect()
    loop = asyncio.get_running_loop()
    tasks = set()

    def spawn(w, *, name):
        t = loop.create_task(w)
        tasks.add(t)
        t.add_done_callback(tasks.discard)
        return t

    gate = Gate(lambda: bus.is_connected, loop.time)
    j = FactLog(log, lambda e: bus.publish(EVENT_MESSAGE_ACCEPTED, e), time.time)
    com = Committer(bus, gate, spawn, j.publish_accepted)
    server = Server(committer=com, gate=gate, journal=j, max_sessions=20000)
    ls = Listeners(log, lambda e: Connection(server, e))
    c = conf(0)
    await ls.apply(c, Tables(c))
    port = ls.ports[0][1]
    extra = sys.argv[4].split() if len(sys.argv) > 4 else ["-d"]
    for warm in (200, N):
        c0 = time.process_time()
        t0 = time.time()
        u0 = resource.getrusage(resource.RUSAGE_SELF)
        pr = cProfile.Profile() if PROFILE and warm == N else None
        if pr:
            pr.enable()
        p = await asyncio.create_subprocess_exec(
            "smtp-source",
            "-s",
            os.environ.get("S", "20"),
            "-l",
            "4096",
            "-m",
            str(warm),
            *extra,
            "-f",
            "sender@example.net",
            "-t",
            "alice@example.test",
            f"127.0.0.1:{port}",
        )
        rc = await p.wait()
        if pr:
            pr.disable()
        dt = time.time() - t0
        cpu = time.process_time() - c0
        u1 = resource.getrusage(resource.RUSAGE_SELF)
        print(
            f"rc={rc} n={warm} {warm / dt:.0f}/s cpu {cpu / warm * 1000:.3f} ms/msg user {(u1.ru_utime - u0.ru_utime) / warm * 1000:.3f} sys {(u1.ru_stime - u0.ru_stime) / warm * 1000:.3f} csw {(u1.ru_nvcsw - u0.ru_nvcsw) / warm:.2f} batch {len_b(warm)}",
            flush=True,
        )
        if pr:
            s = io.StringIO()
            pstats.Stats(pr, stream=s).sort_stats("tottime").print_stats(45)
            print(s.getvalue())
    await bus.close()


if sys.argv[1] == "queue":
    asyncio.run(queue_main(sys.argv[2]), loop_factory=uvloop.new_event_loop) if sys.version_info >= (
        3,
        12,
    ) else uvloop.run(queue_main(sys.argv[2]))
else:
    import subprocess, pathlib, tempfile
    from smtpfleet.local.servers import NatsServer

    ns = NatsServer(pathlib.Path(tempfile.mkdtemp()))
    ns.start()
    url = f"nats://127.0.0.1:{ns.port}"
    q = subprocess.Popen([sys.executable, __file__, "queue", url])
    time.sleep(1)
    try:
        uvloop.run(main(url))
    finally:
        q.terminate()
        q.wait()
        ns.stop()
