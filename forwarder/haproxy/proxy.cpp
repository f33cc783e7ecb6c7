#include "forwarder/haproxy/proxy.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <exception>
#include <memory>
#include <utility>

#include "forwarder/haproxy/runtime_socket.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::forward {

namespace {

namespace asio = boost::asio;

constexpr milliseconds answer_time{2000};
constexpr milliseconds check_time{8000};
constexpr milliseconds load_time{10000};
constexpr milliseconds poll_pace{20};
constexpr milliseconds moved_pace{50};
constexpr milliseconds order_again_pace{2000};
constexpr milliseconds back_off_max{10000};
constexpr milliseconds try_again_pace{30000};
constexpr milliseconds steady_after{10000};
constexpr milliseconds old_workers_pace{10000};
constexpr std::size_t servers_read_each_second = 1000;
constexpr std::size_t command_bytes_max = 8000;  // HAProxy takes a line of 16 KiB

asio::awaitable<void> wait_for(milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    const auto token = asio::as_tuple(asio::use_awaitable);
    co_await timer.async_wait(token);
}

// Has `function` called on the other thread, and goes on here with what it returned.
template <class Function>
asio::awaitable<std::invoke_result_t<Function>> apart(asio::thread_pool& pool, Function function) {
    using Value = std::invoke_result_t<Function>;
    const auto executor = co_await asio::this_coro::executor;
    const auto value = std::make_shared<std::optional<Value>>();
    const auto done = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    asio::post(pool, [value, done, executor, function] {
        value->emplace(function());
        asio::post(executor, [done] { done->cancel(); });
    });
    const auto token = asio::as_tuple(asio::use_awaitable);
    while (!*value) co_await done->async_wait(token);
    co_return std::move(**value);
}

// As many commands in each line as it takes.
std::vector<std::string> lines_of(const std::vector<std::string>& commands) {
    std::vector<std::string> lines;
    for (const std::string& one : commands) {
        if (lines.empty() || lines.back().size() + one.size() > command_bytes_max) lines.emplace_back();
        lines.back() += (lines.back().empty() ? "" : ";") + one;
    }
    return lines;
}

bool only_ends_sessions(const std::vector<std::string>& commands) {
    return std::all_of(commands.begin(), commands.end(),
                       [](const std::string& one) { return one.starts_with("shutdown"); });
}

}  // namespace

Haproxy::Haproxy(asio::io_context& io, const std::string& run_dir, Events events)
    : io_(io), files_{run_dir}, events_(std::move(events)), timer_(io), exit_(io) {}

Haproxy::~Haproxy() { blocking_.join(); }

void Haproxy::start() {
    asio::co_spawn(io_, run(), [](const std::exception_ptr& fault) {
        if (fault) std::rethrow_exception(fault);
    });
}

void Haproxy::close() {
    closed_ = true;
    boost::system::error_code ignored;
    exit_.close(ignored);
    kick();
}

void Haproxy::want(std::optional<ProxyWanted> wanted, const ProxyStates& states) {
    const auto version = [](const std::optional<ProxyWanted>& one) { return one ? one->text.version() : ""; };
    if (version(wanted) != version(wanted_)) {
        try_again_ = {};
        must_load_ = false;
    }
    wanted_ = std::move(wanted);
    want(states);
}

void Haproxy::want(const ProxyStates& states) {
    states_ = states;
    decided_ = true;
    settled_ = false;
    look_at_old_ = {};
    kick();
}

void Haproxy::kick() {
    kicked_ = true;
    timer_.cancel();
}

bool Haproxy::loaded() const { return wanted_ && info_.description == proxy_description(wanted_->text.hash); }

bool Haproxy::has_renewed() const { return wanted_ && info_.certificates == wanted_->text.certificates; }

// A text that is not loaded has other servers: those of the one that is stay where they are.
ProxyStates Haproxy::states_now() const {
    ProxyStates out = states_;
    if (!loaded()) {
        for (auto& [name, state] : out) state.at.reset();
    }
    return out;
}

milliseconds Haproxy::pace() const {
    const Instant now = boottime_now();
    if (wanted_ && process_.pid <= 0 && installed_ && start_after_ > now)
        return std::chrono::ceil<milliseconds>(start_after_ - now);
    return milliseconds(view_.servers.size() > servers_read_each_second ? 10000 : 1000);
}

void Haproxy::set_error(std::string text) {
    if (text == error_) return;
    if (!text.empty()) {
        spdlog::error("{}", text);
        if (error_.empty()) events_.note("proxy-failed", "alarm", "layer 7 is not as wanted: " + text);
    } else {
        spdlog::info("all of layer 7 is in HAProxy as wanted");
        events_.note("proxy-works", "info", "all of layer 7 is in HAProxy as wanted again");
    }
    error_ = std::move(text);
}

// ---- the loop ----

Haproxy::Task Haproxy::run() {
    const auto token = asio::as_tuple(asio::use_awaitable);
    while (!closed_) {
        kicked_ = false;
        co_await cycle();
        if (closed_) break;
        events_.changed();
        if (kicked_) continue;
        timer_.expires_after(pace());
        co_await timer_.async_wait(token);
    }
}

Haproxy::Task Haproxy::cycle() {
    if (!decided_) co_return;
    co_await find();
    if (!wanted_) {
        co_await stop();
        set_error("");
        co_return;
    }
    auto program = find_proxy_program();
    installed_ = program.ok();
    if (!installed_ && process_.pid <= 0) {
        set_error(program.error().message);
        co_return;
    }
    if (installed_) program_ = *program;
    std::string problem;
    if (process_.pid <= 0) {
        if (boottime_now() < start_after_) co_return;
        const Result<void> done = co_await start_process();
        if (!done) problem = done.error().message;
    } else if (!co_await look()) {
        problem = "HAProxy does not answer";
    } else if ((!loaded() || must_load_) && installed_) {
        const Result<void> done = co_await reload();
        if (!done) problem = done.error().message;
    } else if (loaded() && !has_renewed()) {
        const Result<void> done = co_await renew_certificates();
        if (!done) problem = done.error().message;
    }
    if (process_.pid > 0) {
        const Result<void> done = co_await put_right();
        if (!done && problem.empty()) problem = done.error().message;
        co_await end_old_sessions();
    }
    if (closed_ || (problem.empty() && !loaded())) co_return;  // the next cycle knows more
    set_error(problem);
}

// ---- the process ----

Haproxy::Task Haproxy::find() {
    if (process_.pid > 0 || looked_for_) co_return;
    looked_for_ = true;
    process_ = find_proxy(files_);
    if (process_.pid <= 0) co_return;
    watch();
    started_ = boottime_now();
    old_workers_ = true;
    ++counters_["proxy_found"];
    spdlog::info("HAProxy runs already pid={}", process_.pid);
    const Result<std::string> answer = co_await ask_proxy(proxy_socket_path(files_.run_dir), "show stat", answer_time);
    if (!answer || closed_) co_return;
    view_ = parse_proxy_view(*answer);
    events_.found(view_.states());
}

void Haproxy::watch() {
    exit_.assign(process_.fd);
    wait_for_exit();
}

void Haproxy::wait_for_exit() {
    exit_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& error) {
        if (error || closed_) return;
        // Asked once more: right after a start this was seen to be called for a process that runs.
        pollfd ended{process_.fd, POLLIN, 0};
        if (::poll(&ended, 1, 0) == 0) return wait_for_exit();
        on_exit();
    });
}

void Haproxy::on_exit() {
    boost::system::error_code ignored;
    exit_.close(ignored);
    if (child_) reap(process_.pid);
    const pid_t pid = std::exchange(process_.pid, -1);
    process_.fd = -1;
    info_ = {};
    view_ = {};
    old_workers_ = false;
    if (!wanted_) return kick();
    const Instant now = boottime_now();
    failures_ = now - started_ > steady_after ? 1 : failures_ + 1;
    // At once the first time; then 100 ms, 200 ms ...
    milliseconds delay{0};
    for (unsigned i = 1; i < failures_ && delay < back_off_max; ++i) delay = delay == 0ms ? 100ms : delay * 2;
    start_after_ = now + std::min(delay, back_off_max);
    ++counters_["proxy_ends"];
    spdlog::error("HAProxy ended pid={}; started again in {} ms", pid, std::min(delay, back_off_max).count());
    events_.note("proxy-ended", "warning", "HAProxy (process " + std::to_string(pid) + ") ended; it is started again");
    kick();
}

Haproxy::Task Haproxy::stop() {
    if (process_.pid <= 0) co_return;
    spdlog::info("no service of layer 7 is left: HAProxy is stopped pid={}", process_.pid);
    const pid_t pid = process_.pid;
    ::kill(pid, SIGTERM);
    for (auto waited = 0ms; waited < answer_time && process_.pid == pid; waited += poll_pace)
        co_await wait_for(poll_pace);
    if (process_.pid == pid && !wanted_) ::kill(pid, SIGKILL);
}

Haproxy::Outcome Haproxy::check() {
    const ProxyText text = wanted_->text;
    if (text.version() == refused_ && boottime_now() < try_again_) co_return Error{refusal_, "", EINVAL};
    if (text.version() == checked_) co_return Result<void>{};
    const std::string loaded = text.loaded(states_);
    const std::string page = wanted_->page;
    const auto certificates = wanted_->certificates;
    const ProxyFiles files = files_;
    const std::string program = program_;
    const auto work = [files, program, loaded, page, certificates]() -> Result<void> {
        if (auto done = write_certificates(files, certificates); !done) return done;
        if (auto done = config::write_atomically(proxy_page_path(files.run_dir), page, 0644); !done) return done;
        if (auto done = config::write_atomically(files.candidate(), loaded, 0600); !done) return done;
        auto done = check_proxy_file(program, files.candidate(), check_time);
        ::unlink(files.candidate().c_str());
        return done;
    };
    const Result<void> done = co_await apart(blocking_, work);
    if (done) {
        checked_ = text.version();
        co_return Result<void>{};
    }
    refused_ = text.version();
    try_again_ = boottime_now() + try_again_pace;
    const std::string why = text.explain(done.error().message);
    refusal_ = "HAProxy does not take the configuration, so the one before stays: " +
               (why.empty() ? done.error().message : why);
    ++counters_["proxy_refusals"];
    co_return Error{refusal_, "", EINVAL};
}

Haproxy::Outcome Haproxy::write_files() {
    const std::string path = files_.config();
    const std::string text = wanted_->text.loaded(states_);
    const auto work = [path, text] { return config::write_atomically(path, text, 0600); };
    co_return co_await apart(blocking_, work);
}

// Keys stay no longer than HAProxy needs them.
Haproxy::Outcome Haproxy::remove_old_certificates() {
    if (!wanted_ || !loaded()) co_return Result<void>{};
    const auto certificates = wanted_->certificates;
    const ProxyFiles files = files_;
    const auto work = [files, certificates] { return keep_certificates(files, certificates); };
    co_return co_await apart(blocking_, work);
}

Haproxy::Outcome Haproxy::start_process() {
    const Result<void> checked = co_await check();
    if (!checked) co_return checked;
    // Workers whose master was killed end by themselves; two of them would share the connections.
    for (auto waited = 0ms; waited < answer_time; waited += poll_pace) {
        const Result<std::string> left =
            co_await ask_proxy(proxy_socket_path(files_.run_dir), "show info", answer_time);
        if (!left) break;
        const pid_t pid = static_cast<pid_t>(parse_proxy_info(*left).pid);
        if (waited >= answer_time / 2 && pid > 1) ::kill(pid, SIGKILL);
        co_await wait_for(poll_pace);
    }
    if (closed_ || !wanted_) co_return Result<void>{};
    const Result<void> written = co_await write_files();
    if (!written) co_return written;
    if (closed_ || !wanted_) co_return Result<void>{};
    auto started = start_proxy(program_, files_);
    if (!started) co_return started.error();
    process_ = *started;
    child_ = true;
    started_ = boottime_now();
    ++counters_["proxy_starts"];
    watch();
    spdlog::info("HAProxy started pid={}", process_.pid);
    const Result<void> done = co_await wait_for_text(false);
    if (done) static_cast<void>(co_await remove_old_certificates());
    co_return done;
}

Haproxy::Outcome Haproxy::reload() {
    const Result<void> checked = co_await check();
    if (!checked) co_return checked;
    if (closed_ || !wanted_ || process_.pid <= 0) co_return Result<void>{};
    const Result<void> written = co_await write_files();
    if (!written) co_return written;
    empty_proxy_log(files_);
    must_load_ = false;
    ++counters_["proxy_reloads"];
    old_workers_ = true;
    look_at_old_ = {};
    // The master closes without a word, or resets: what has become of it is looked at.
    static_cast<void>(co_await ask_proxy(files_.master_socket(), "reload", answer_time));
    const Instant began = boottime_now();
    const Result<void> done = co_await wait_for_text(true);
    if (done) spdlog::info("HAProxy has the new configuration ms={}", (boottime_now() - began) / 1ms);
    if (done) static_cast<void>(co_await remove_old_certificates());
    co_return done;
}

// Until it has the text that is wanted, or says that it cannot.
Haproxy::Outcome Haproxy::wait_for_text(bool reloading) {
    const ProxyText text = wanted_->text;
    const auto certificates = wanted_->certificates;
    const std::uint32_t worker_before = info_.pid;
    const Instant end = boottime_now() + load_time;
    Instant order_again = boottime_now() + order_again_pace;
    for (;;) {
        // Another text that is wanted meanwhile waits: a master that is loading loses the order to load again.
        if (closed_ || !wanted_) co_return Result<void>{};
        // The description alone does not tell: certificates and addresses are not in it.
        if (process_.pid > 0 && co_await look() && info_.description == proxy_description(text.hash) &&
            (!reloading || info_.pid != worker_before)) {
            if (wanted_ && wanted_->text.version() != text.version()) kicked_ = true;
            certificates_ = certificates;
            co_return Result<void>{};
        }
        const std::string said = read_proxy_log(files_);
        const bool failed = reloading && said.find("Loading failure!") != std::string::npos;
        if (failed || process_.pid <= 0 || boottime_now() > end) {
            std::string why = text.explain(said);
            if (why.empty()) why = process_.pid <= 0 ? "it ended" : "it takes too long";
            refusal_ = std::string(reloading ? "HAProxy cannot load the configuration, so the one before stays: "
                                             : "HAProxy cannot start: ") +
                       why;
            if (reloading) {
                refused_ = text.version();
                try_again_ = boottime_now() + try_again_pace;
            }
            co_return Error{refusal_, "", EIO};
        }
        if (reloading && said.empty() && boottime_now() > order_again) {  // it says first of all that it does
            order_again += order_again_pace;
            static_cast<void>(co_await ask_proxy(files_.master_socket(), "reload", answer_time));
        }
        // A verdict does not wait for that.
        if (std::exchange(kicked_, false) && reloading) static_cast<void>(co_await put_right());
        co_await wait_for(poll_pace);
    }
}

// ---- asking and telling ----

asio::awaitable<bool> Haproxy::look() {
    const std::string question = std::string("show info;get var ") + proxy_certificates_variable;
    const Result<std::string> answer = co_await ask_proxy(proxy_socket_path(files_.run_dir), question, answer_time);
    if (!answer || process_.pid <= 0) co_return false;
    info_ = parse_proxy_info(*answer);
    co_return !info_.version.empty();
}

Haproxy::Outcome Haproxy::put_right() {
    const std::string socket = proxy_socket_path(files_.run_dir);
    constexpr int tries_max = 3;
    bool moved = false;
    for (int tries = 0;; ++tries) {
        const Result<std::string> answer = co_await ask_proxy(socket, "show stat", answer_time);
        if (!answer) co_return answer.error();
        if (process_.pid <= 0 || closed_) co_return Result<void>{};
        view_ = parse_proxy_view(*answer);
        const auto commands = proxy_commands(view_, states_now());
        const bool moves = std::any_of(commands.begin(), commands.end(), is_move);
        if (commands.empty() || (tries > 0 && only_ends_sessions(commands))) {
            settled_ = loaded();
            if (moved && settled_) co_return co_await write_files();
            co_return Result<void>{};
        }
        if (moves && tries == tries_max) {
            spdlog::warn("HAProxy refuses another address, so it is loaded: {}", commands.front());
            must_load_ = true;
            kick();
            co_return Result<void>{};
        }
        if (moves && tries > 0) co_await wait_for(moved_pace);  // HAProxy 3.3 and later show it a little later
        moved = moved || moves;
        if (tries == tries_max) co_return Error{"HAProxy does not do this: " + commands.front(), "", EIO};
        if (settled_ && tries == 0 && !only_ends_sessions(commands)) {
            ++counters_["proxy_drifts"];
            spdlog::warn("drift, put right: not by us: {}", commands.front());
        }
        counters_["proxy_commands"] += commands.size();
        for (const std::string& line : lines_of(commands)) {
            const Result<std::string> said = co_await ask_proxy(socket, line, answer_time);
            if (!said) co_return said.error();
        }
    }
}

// A running HAProxy gets the certificates that it does not have; if it refuses one, all are loaded.
Haproxy::Outcome Haproxy::renew_certificates() {
    const ProxyFiles files = files_;
    const auto certificates = wanted_->certificates;
    const std::string version = wanted_->text.version();
    if (!co_await give_certificates()) {
        spdlog::warn("HAProxy does not take the certificates while it runs, so they are loaded");
        must_load_ = true;
        kick();
        co_return Result<void>{};
    }
    ++counters_["proxy_renewals"];
    spdlog::info("HAProxy has the new certificates");
    certificates_ = certificates;
    checked_ = version;
    const auto work = [files, certificates] { return write_certificates(files, certificates); };
    const Result<void> written = co_await apart(blocking_, work);
    if (!written) co_return written;
    if (closed_ || !loaded()) co_return Result<void>{};
    co_return co_await write_files();
}

asio::awaitable<bool> Haproxy::give_certificates() {
    const std::string socket = proxy_socket_path(files_.run_dir);
    const std::string hash = wanted_->text.certificates;
    std::map<std::string, std::string> changed;
    for (const std::string& name : wanted_->text.renewable) {
        const auto bytes = wanted_->certificates.find(name);
        const auto before = certificates_.find(name);
        if (bytes == wanted_->certificates.end()) continue;
        if (before == certificates_.end() || before->second != bytes->second) changed.insert(*bytes);
    }
    const auto renewals = certificate_renewals(proxy_certificates_path(files_.run_dir), changed);
    if (!renewals) co_return false;
    for (const CertificateRenewal& one : *renewals) {
        const Result<std::string> set = co_await ask_proxy(socket, one.set, answer_time);
        const bool taken = set && set->find("Transaction ") != std::string::npos;
        const std::string then = taken ? one.commit : one.abort;
        const Result<std::string> done = co_await ask_proxy(socket, then, answer_time);
        if (taken && done && done->find("Success!") != std::string::npos) continue;
        static_cast<void>(co_await ask_proxy(socket, one.abort, answer_time));
        co_return false;
    }
    const std::string tell =
        std::string("experimental-mode on;set var ") + proxy_certificates_variable + " str(" + hash + ")";
    static_cast<void>(co_await ask_proxy(socket, tell, answer_time));
    co_return co_await look() && info_.certificates == hash;
}

// A server that shall have no connections has none in the workers of before a reload either.
Haproxy::Task Haproxy::end_old_sessions() {
    const Instant now = boottime_now();
    const bool any =
        std::any_of(states_.begin(), states_.end(), [](const auto& one) { return one.second.ends_sessions; });
    if (!old_workers_ || !any || now < look_at_old_) co_return;
    look_at_old_ = now + old_workers_pace;
    const std::string master = files_.master_socket();
    const Result<std::string> processes = co_await ask_proxy(master, "show proc;quit", answer_time);
    if (!processes) co_return;
    const auto workers = parse_old_workers(*processes);
    old_workers_ = !workers.empty();
    for (const std::uint32_t worker : workers) {
        const std::string to = "@!" + std::to_string(worker) + " ";
        const std::string question = to + "show sess;quit";
        const Result<std::string> sessions = co_await ask_proxy(master, question, answer_time);
        if (!sessions) continue;
        std::vector<std::string> commands;
        for (const std::string& one : session_commands(*sessions, states_)) commands.push_back(to + one);
        counters_["proxy_commands"] += commands.size();
        for (const std::string& line : lines_of(commands)) {
            const std::string all = line + ";quit";
            static_cast<void>(co_await ask_proxy(master, all, answer_time));
        }
    }
}

}  // namespace lbcluster::forward
