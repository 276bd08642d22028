%% Supervision on Erlang/OTP, timed: the measurements of ../../supervision_bench.hpp under the same names.
%%
%%   erlc supervision_bench.erl && erl -noshell -run supervision_bench main [ONLY]
%%
%% One JSON line each. Logging is off except for restart.crash_reported, where every report goes to a file.
-module(supervision_bench).
-behaviour(supervisor).
-export([main/0, main/1]).
-export([init/1]).
-export([start_worker/3, start_idle/0, start_idle/1]).

-define(SAMPLES, 10000).
-define(CHILDREN, 100000).
-define(MESSAGES, 1000000).
-define(ROUNDS, 5).

main() -> main([""]).
main([Only]) ->
    logger:set_primary_config(level, none),
    Wanted = fun(Metric) -> lists:prefix(Only, Metric) end,
    [Run() || {Metrics, Run} <- all(), lists:any(Wanted, Metrics)],
    halt().

all() ->
    [{["restart.kill"], fun() -> latency("restart.kill", fresh(one_for_one, 1, kill, ?SAMPLES)) end},
     {["restart.crash"], fun() -> latency("restart.crash", fresh(one_for_one, 1, crash, ?SAMPLES)) end},
     {["restart.crash_reported"], fun crash_reported/0},
     {["restart.kill_window_10000"],
      fun() -> latency("restart.kill_window_10000", restarts(one_for_one, 1, kill, 10000, ?SAMPLES div 10)) end},
     {["give_up.window_10000"],
      fun() -> latency("give_up.window_10000", [give_up(10000) || _ <- lists:seq(1, ?SAMPLES div 250)]) end},
     {["restart.one_for_all_8"],
      fun() -> latency("restart.one_for_all_8", fresh(one_for_all, 8, kill, ?SAMPLES div 10)) end},
     {["restart.one_for_all_64"],
      fun() -> latency("restart.one_for_all_64", fresh(one_for_all, 64, kill, ?SAMPLES div 10)) end},
     {["restart.rest_for_one_8"],
      fun() -> latency("restart.rest_for_one_8", fresh(rest_for_one, 8, kill, ?SAMPLES div 10)) end},
     {["start_instance", "stop.instances_100000"],
      fun() -> fill_and_empty("start_instance", "stop.instances_100000", simple_one_for_one) end},
     {["start_child", "stop.children_100000"],
      fun() -> fill_and_empty("start_child", "stop.children_100000", one_for_one) end},
     {["monitor.kill"], fun() -> latency("monitor.kill", [kill_to_down() || _ <- lists:seq(1, ?SAMPLES)]) end},
     {["messages.1_1"], fun() -> rate("messages.1_1", [flood(1) || _ <- lists:seq(1, ?ROUNDS)]) end},
     {["messages.4_1"], fun() -> rate("messages.4_1", [flood(4) || _ <- lists:seq(1, ?ROUNDS)]) end},
     {["call"], fun() -> latency("call", calls(?SAMPLES)) end}].

%% -- telling ---------------------------------------------------------------------------------------

now_us() -> erlang:monotonic_time(nanosecond) / 1000.

quantile(All, Q) -> lists:nth(1 + trunc(Q * (length(All) - 1)), lists:sort(All)).

latency(Metric, All) ->
    io:format("{\"metric\":\"~s\",\"median_us\":~.3f,\"p99_us\":~.3f,\"samples\":~b}~n",
              [Metric, float(quantile(All, 0.5)), float(quantile(All, 0.99)), length(All)]).

rate(Metric, All) ->
    io:format("{\"metric\":\"~s\",\"per_s\":~b,\"samples\":~b}~n", [Metric, round(quantile(All, 0.5)), length(All)]).

%% -- supervisor and workers ------------------------------------------------------------------------

init({Strategy, Intensity, Specs}) ->
    {ok, {#{strategy => Strategy, intensity => Intensity, period => 3600}, Specs}}.

child(Id, Announce) ->
    #{id => Id, start => {?MODULE, start_worker, [Id, Announce, self()]}, restart => permanent, shutdown => 5000}.

%% Registers, tells whoever drives, answers its supervisor: what gen_server:start_link({local, Name}, …) does,
%% with proc_lib alone.
start_worker(Id, Announce, _Starter) ->
    proc_lib:start_link(erlang, apply, [fun() -> worker_init(Id, Announce) end, []]).

worker_init(Id, Announce) ->
    register(name_of(Id), self()),
    proc_lib:init_ack({ok, self()}),
    Announce ! {up, Id, self()},
    worker_loop().

worker_loop() ->
    receive
        crash -> error(on_purpose);
        {call, From, Ref, X} -> From ! {Ref, X + 1}, worker_loop();
        _ -> worker_loop()
    end.

name_of(Id) -> list_to_atom("bench_" ++ integer_to_list(Id)).

start_idle() -> proc_lib:start_link(erlang, apply, [fun idle_init/0, []]).
start_idle(_Id) -> start_idle().

idle_init() ->
    proc_lib:init_ack({ok, self()}),
    worker_loop().

start_supervisor(Strategy, Intensity, Specs) ->
    {ok, Top} = supervisor:start_link(?MODULE, {Strategy, Intensity, Specs}),
    unlink(Top),
    Top.

stop_supervisor(Top) ->
    Monitor = monitor(process, Top),
    exit(Top, shutdown),
    receive {'DOWN', Monitor, process, Top, _} -> ok end.

%% -- restarts --------------------------------------------------------------------------------------

%% A process of its own, so that its heap and mailbox are fresh.
apart(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> process_flag(trap_exit, true), exit({result, Fun()}) end),
    receive {'DOWN', Monitor, process, Pid, {result, Result}} -> Result end.

%% OTP's intensity window is a list that each restart scans, so a fresh supervisor comes after every 100.
fresh(Strategy, Children, How, Samples) ->
    lists:append([restarts(Strategy, Children, How, 10, 100) || _ <- lists:seq(1, Samples div 100)]).

restarts(Strategy, Children, How, Before, Timed) ->
    apart(fun() ->
        Me = self(),
        Top = start_supervisor(Strategy, 10000000, [child(I, Me) || I <- lists:seq(0, Children - 1)]),
        First = ups(Children, undefined),
        {Victim, _} = strikes(Before, Children, How, First, []),
        {_, Taken} = strikes(Timed, Children, How, Victim, []),
        stop_supervisor(Top),
        Taken
    end).

ups(0, Victim) -> Victim;
ups(Missing, Victim) ->
    receive
        {up, 0, Pid} -> ups(Missing - 1, Pid);
        {up, _, _} -> ups(Missing - 1, Victim)
    end.

strikes(0, _, _, Victim, Taken) -> {Victim, Taken};
strikes(Left, Children, How, Victim, Taken) ->
    Began = now_us(),
    strike(How, Victim),
    Next = ups(Children, undefined),
    strikes(Left - 1, Children, How, Next, [now_us() - Began | Taken]).

strike(kill, Victim) -> exit(Victim, kill);
strike(crash, Victim) -> Victim ! crash.

crash_reported() ->
    File = filename:join("/tmp", "otp-bench-" ++ os:getpid() ++ ".log"),
    [logger:remove_handler(Id) || Id <- logger:get_handler_ids()],
    ok = logger:add_handler(file, logger_std_h,
                            #{config => #{file => File, burst_limit_enable => false, drop_mode_qlen => 1000000,
                                          flush_qlen => 2000000}}),
    logger:set_primary_config(level, info),
    Taken = fresh(one_for_one, 1, crash, ?SAMPLES div 10),
    logger:set_primary_config(level, none),
    logger:remove_handler(file),
    file:delete(File),
    latency("restart.crash_reported", Taken).

give_up(Intensity) ->
    apart(fun() ->
        Me = self(),
        Top = start_supervisor(one_for_one, Intensity, [child(0, Me)]),
        {Victim, _} = strikes(Intensity, 1, kill, ups(1, undefined), []),
        Monitor = monitor(process, Top),
        Began = now_us(),
        exit(Victim, kill),
        receive {'DOWN', Monitor, process, Top, _} -> now_us() - Began end
    end).

%% -- starts and stops ------------------------------------------------------------------------------

fill_and_empty(Start, Stop, Strategy) ->
    Results = [apart(fun() -> fill_and_empty(Strategy) end) || _ <- lists:seq(1, ?ROUNDS)],
    rate(Start, [Rate || {Rate, _} <- Results]),
    latency(Stop, [Us || {_, Us} <- Results]).

fill_and_empty(Strategy) ->
    Idle = fun(Id, Arguments) -> #{id => Id, start => {?MODULE, start_idle, Arguments}, shutdown => 5000} end,
    Specs = case Strategy of simple_one_for_one -> [Idle(i, [])]; _ -> [] end,
    Order = case Strategy of simple_one_for_one -> fun(_) -> [] end; _ -> fun(I) -> Idle(I, [I]) end end,
    Top = start_supervisor(Strategy, 1, Specs),
    Began = now_us(),
    [{ok, _} = supervisor:start_child(Top, Order(I)) || I <- lists:seq(1, ?CHILDREN)],
    Started = now_us(),
    stop_supervisor(Top),
    {?CHILDREN / ((Started - Began) / 1.0e6), now_us() - Started}.

%% -- messages --------------------------------------------------------------------------------------

kill_to_down() ->
    {Pid, Monitor} = spawn_monitor(fun worker_loop/0),
    Began = now_us(),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> now_us() - Began end.

flood(Senders) ->
    Each = ?MESSAGES div Senders,
    apart(fun() ->
        Me = self(),
        Began = now_us(),
        [spawn(fun() -> send_all(Me, Each) end) || _ <- lists:seq(1, Senders)],
        receive_all(Each * Senders),
        Each * Senders / ((now_us() - Began) / 1.0e6)
    end).

send_all(_, 0) -> ok;
send_all(To, Left) -> To ! Left, send_all(To, Left - 1).

receive_all(0) -> ok;
receive_all(Left) -> receive X when is_integer(X) -> receive_all(Left - 1) end.

calls(Count) ->
    Server = spawn(fun worker_loop/0),
    [call(Server) || _ <- lists:seq(1, Count)].

call(Server) ->
    Began = now_us(),
    Ref = monitor(process, Server, [{alias, reply_demonitor}]),
    Server ! {call, Ref, Ref, 1},
    receive {Ref, 2} -> now_us() - Began end.
