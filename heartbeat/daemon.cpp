#include "heartbeat/daemon.hpp"

#include <grp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <csignal>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "heartbeat/realtime.hpp"
#include "heartbeat/wire/serial_link.hpp"
#include "heartbeat/wire/udp_link.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/base/notify.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::heartbeat {

namespace {

std::uint64_t random_u64() {
    std::random_device device;  // getrandom(2)
    return (std::uint64_t{device()} << 32) | device();
}

// Asks for a group's number while others work: a directory service may take its time, or not answer at all.
class GroupLookup {
  public:
    explicit GroupLookup(const std::string& name) : number_(answer_->get_future()) {
        std::thread([name, answer = answer_] {
            std::array<char, 16384> buffer{};
            group entry{};
            group* found = nullptr;
            const bool known = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 && found;
            answer->set_value(known ? std::to_string(entry.gr_gid) : "");
        }).detach();
    }
    // As bus::ServerOptions::group; empty: no such group, or not known in time.
    [[nodiscard]] std::string get() const {
        if (number_.wait_for(200ms) == std::future_status::ready) return number_.get();
        spdlog::warn("the group of the bus socket is not known in time: only root can read it");
        return "";
    }

  private:
    std::shared_ptr<std::promise<std::string>> answer_ = std::make_shared<std::promise<std::string>>();
    std::shared_future<std::string> number_;
};

// At a start the files are only read; the reload that follows it keeps what it read.
enum class Reading { at_start, running };

// Reads files and key; blocks.
Loaded load_setup(const config::Paths& paths, const std::vector<net::Link>& links,
                  const std::vector<net::Address>& addresses, Reading reading) {
    const config::Facts facts = facts_of(links, addresses);
    config::LoadResult loaded = config::load(paths, facts);
    const auto fatal = [&] {
        return std::any_of(loaded.problems.begin(), loaded.problems.end(),
                           [](const config::Problem& problem) { return !problem.warning && !problem.momentary; });
    };
    // No daemon is worse than one with an address in conflict, which it tells and does not touch; the reload that
    // follows a start says what is wrong.
    if (fatal() && reading == Reading::at_start) loaded = config::load(paths, std::nullopt);
    if (fatal()) return {{}, {}, config::format(loaded.problems)};
    if (loaded.revision == 0 && reading == Reading::running) {
        // A hand edit becomes a revision, so that it can be found again. Not being able to keep it is no reason not to
        // run.
        if (auto settled = config::settle(paths, 5s)) loaded.revision = *settled;
    }
    std::string cluster_id;
    Loaded out;
    if (loaded.effective_node.links_size() > 0) {
        auto keys = KeyRing::load(heartbeat_key_path(paths.state_dir));
        if (!keys) {
            return {{}, {}, keys.error().message + (keys.error().hint.empty() ? "" : "; " + keys.error().hint)};
        }
        cluster_id.assign(keys->cluster_id().begin(), keys->cluster_id().end());
        out.keys = std::move(keys).value();
    }
    out.setup = make_setup(loaded, facts, cluster_id);
    if (reading == Reading::running) {
        for (const Error& error : config::keep_applied(paths, loaded)) spdlog::warn("{}", error.message);
    }
    return out;
}

}  // namespace

Daemon::Daemon(boost::asio::io_context& io, config::Paths paths)
    : io_(io),
      paths_(std::move(paths)),
      signals_(io, SIGTERM, SIGINT, SIGHUP),
      timer_(io),
      tick_timer_(io),
      publish_timer_(io),
      end_timer_(io),
      dump_timer_(io) {
    signals_.add(SIGUSR2);
}

Daemon::~Daemon() {
    if (files_) files_->stop();  // what runs there uses the rest
}

Result<std::unique_ptr<Daemon>> Daemon::create(boost::asio::io_context& io, const config::Paths& paths) {
    std::unique_ptr<Daemon> daemon(new Daemon(io, paths));
    if (auto opened = daemon->open(); !opened) return opened.error();
    return daemon;
}

// ---- start ----

Result<void> Daemon::open() {
    const GroupLookup readers("lbcluster");
    // Before the dump: what changes from now on waits in its socket for the first turn.
    auto monitor = net::Monitor::open(
        io_, {},
        {[this](const net::Link& link, bool removed) { on_link_event(link, removed); },
         [this](const net::Address& a, bool removed) { on_address_event(a, removed); }, [this] { on_overrun(); }});
    if (!monitor) return monitor.error();
    monitor_ = std::move(monitor).value();
    auto netlink = net::Netlink::open();
    if (!netlink) return netlink.error();
    const auto links = netlink->links();
    if (!links) return links.error();
    const auto addresses = netlink->addresses();
    if (!addresses) return addresses.error();

    Loaded loaded = load_setup(paths_, *links, *addresses, Reading::at_start);
    if (!loaded.setup) {
        config_error_ = loaded.error;
        loaded = load_setup(config::applied_paths(paths_), *links, *addresses, Reading::at_start);
        if (!loaded.setup) return Error{config_error_, "see `lbcluster config check`", EINVAL};
        spdlog::error("the configuration is not valid; going on with the last one that was in force: {}",
                      config_error_);
    }
    setup_ = std::move(*loaded.setup);
    config_applied_ms_ = realtime_ms_now();
    set_log_level(setup_.log_level);

    std::vector<KernelAddress> configured;
    for (const FloatingIp& ip : setup_.settings.floating_ips) configured.push_back({ip.address, ip.interface});
    auto found = scan_own_addresses(*netlink, configured);
    if (!found) return found.error();
    leftovers_ = std::move(found).value();

    files_ = std::make_unique<FileThread>(io_, paths_.state_dir);
    const auto weak_turn = [this] { request_turn(); };
    auto pinger = Pinger::open(io_, [this, weak_turn](std::size_t index, Duration) {
        core_->on_ping_reply(boottime_now(), index);
        weak_turn();
    });
    if (!pinger) return pinger.error();
    pinger_ = std::move(pinger).value();
    auto prober = AddressProber::open(
        io_, {[this](const IpAddress& ip, const MacAddress& mac, AddressProber::Kind kind, int) {
                  core_->on_probe_answer(boottime_now(), ip, mac, kind == AddressProber::Kind::echo, actions_);
                  request_turn();
              },
              [this](const IpAddress& ip, const MacAddress& mac) {
                  core_->on_foreign_use(boottime_now(), ip, mac, actions_);
                  request_turn();
              }});
    if (!prober) return prober.error();
    prober_ = std::move(prober).value();
    if (loaded.keys) open_links(std::move(*loaded.keys));

    auto worker =
        AddressWorker::start(io_, worker_options(), [this](const KernelReport& report) { on_report(report); });
    if (!worker) return worker.error();
    worker_ = std::move(worker).value();
    // A thousand leases are some thousand events a second.
    if (worker_->netlink_port() != 0) monitor_->ignore(worker_->netlink_port());

    bus_ = std::make_unique<bus::Server>(
        io_, bus::Server::Options{paths_.socket_of("heartbeatd"), "heartbeatd", LBCLUSTER_VERSION, readers.get()});
    bus_->on_call([this](const bus::Call& call, const bus::PeerCredentials&, bus::Server::Respond respond) {
        on_call(call, std::move(respond));
    });
    if (auto listening = bus_->listen(); !listening) return listening;

    auto term = read_term(paths_.state_dir);
    if (!term) spdlog::warn("{}", term.error().message);
    core_ = std::make_unique<Core>(
        boottime_now(), setup_.settings,
        Core::Start{random_u64() | 1, random_u64(), term ? *term : 0, read_standby(paths_.state_dir)});
    Interfaces interfaces;
    for (const net::Link& link : *links) interfaces.links[link.index] = link;
    for (const net::Address& address : *addresses) {
        if (!address.ours()) interfaces.addresses.push_back(address);
    }
    take_interfaces(std::move(interfaces));
    return {};
}

void Daemon::open_links(KeyRing keys) {
    codec_.emplace(setup_.settings.node, std::move(keys));
    for (const LinkSetup& link : setup_.links) {
        if (link.kind == LinkKind::serial) {
            links_.push_back(std::make_unique<SerialLink>(io_, SerialLinkOptions{link.name, link.device, link.baud},
                                                          [this] { turn(true); }));
        } else {
            UdpLinkOptions options;
            options.name = link.name;
            options.local = link.local;
            options.peer = link.peer;
            options.port = setup_.port;
            if (link.bound) options.interface = link.interface;
            links_.push_back(std::make_unique<UdpLink>(io_, std::move(options), [this] { turn(true); }));
        }
    }
}

void Daemon::become_realtime() {
    const auto warn = [&](const std::string& id, const std::string& what, const std::string& why) {
        if (why.empty()) return;
        raise_alarm(id, what + " (" + why + "): a loaded machine may be late with its heartbeats",
                    "start heartbeatd with CAP_SYS_NICE and CAP_IPC_LOCK, as the packaged unit does");
        spdlog::warn("{}: {}", what, why);
    };
    warn("not-realtime", "no real-time priority", set_realtime(::pthread_self(), heartbeat_priority));
    for (const auto thread : worker_->native_handles()) set_realtime(thread, address_priority);
    warn("memory-not-locked", "memory is not locked", lock_memory(worker_->native_handles()));
    // A heartbeat made and read: fetches and locks what the next ones need.
    if (!codec_) return;
    Heartbeat message;
    std::array<std::uint8_t, datagram_bytes_max> buffer{};
    codec_->stamp(message);
    if (const auto size = codec_->encode(message, buffer)) (void)codec_->decode({buffer.data(), *size}, received_);
}

void Daemon::start() {
    become_realtime();
    const int fd = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    LBC_ASSERT(fd >= 0);
    timer_.assign(fd);
    for (const auto& link : links_) link->start();
    pinger_->set_nodes(setup_.settings.ping_nodes);
    prober_->set_addresses(watched());
    watcher_ = std::make_unique<config::Watcher>(files_->io(), paths_,
                                                 [this] { boost::asio::post(io_, [this] { reload(); }); });
    files_->run([this] {
        if (auto watching = watcher_->start(); !watching) {
            spdlog::warn("{}: changes of the configuration are taken up on SIGHUP only", watching.error().message);
        }
    });
    wait_for_signal();
    wait_for_timer();
    tick();
    load_history();
    const Instant now = boottime_now();
    forwarder_ = std::make_unique<ForwarderWatch>(io_, paths_.socket_of("forwarderd"), [this] {
        tell_forwarder();
        request_turn();
    });
    forwarder_->start();
    core_->on_leftovers(now, !leftovers_.empty());
    publish_config();
    turn();
    publish();
    reload();  // what waits for the disk and for locks: a hand edit becomes a revision, applied/ is kept
    notify_supervisor("READY=1");
    spdlog::info("started node={} role={} links={} floating_ips={} leftovers={}", setup_.settings.node,
                 setup_.settings.primary ? "primary" : "secondary", links_.size(), setup_.settings.floating_ips.size(),
                 leftovers_.size());
}

// ---- input ----

// The one place where decisions are taken: everything that waits is read first. `unless_idle`: for the handler of a
// link that the turn before may have drained already; then there is nothing to decide.
void Daemon::turn(bool unless_idle) {
    if (turning_ || ended_) return;
    turning_ = true;
    const bool read = drain();
    if (unless_idle && !read) {
        turning_ = false;
        return;
    }
    tell_interfaces();
    core_->step(boottime_now(), actions_);
    // Before anything is sent: what an offer leads to is told to the worker first.
    if (core_->restraint() != restraint_) {
        restraint_ = core_->restraint();
        worker_->restrain(restraint_);
    }
    carry_out();
    turning_ = false;
    arm_timer();
}

void Daemon::request_turn() {
    if (turning_ || std::exchange(turn_requested_, true)) return;
    boost::asio::post(io_, [this] {
        turn_requested_ = false;
        turn();
    });
}

// One system call tells which sockets have something; most turns find one or none of seven. False: nothing at all.
bool Daemon::drain() {
    poll_set_.clear();
    for (const auto& link : links_) poll_set_.push_back({link->fd(), POLLIN, 0});
    for (const int fd : {monitor_->fd(), pinger_->fd_v4(), pinger_->fd_v6(), prober_->fd()}) {
        poll_set_.push_back({fd, POLLIN, 0});
    }
    const int ready = ::poll(poll_set_.data(), poll_set_.size(), 0);
    if (ready == 0) return false;
    // Cannot say: everything is read, as if it were there.
    const auto waits = [&](std::size_t i) { return ready < 0 || poll_set_[i].revents != 0; };
    const std::size_t others = links_.size();
    if (waits(others)) monitor_->drain();
    for (std::uint32_t i = 0; i < links_.size(); ++i) {
        if (!waits(i)) continue;
        links_[i]->drain([this, i](std::span<const std::uint8_t> datagram) { on_datagram(i, datagram); });
    }
    if (waits(others + 1) || waits(others + 2)) pinger_->drain();
    if (waits(others + 3)) prober_->drain();
    return true;
}

void Daemon::on_datagram(std::uint32_t link, std::span<const std::uint8_t> datagram) {
    ++counters_["received"];
    const DecodeResult decoded = codec_->decode(datagram, received_);
    if (!decoded.ok()) {
        ++counters_["dropped_" + std::string(drop_name(decoded.drop))];
        // An authentic one with our name: our own echo, or another node that is called like us. The core can tell.
        if (decoded.drop != Drop::own_name) return;
    }
    if (decoded.newer) {
        // Alive, but not to be understood: only what never changes its meaning.
        Heartbeat known;
        known.set_version(received_.version());
        known.set_cluster_id(received_.cluster_id());
        known.set_sender(received_.sender());
        known.set_receiver(received_.receiver());
        known.set_boot_id(received_.boot_id());
        known.set_sequence(received_.sequence());
        known.set_peer_boot_id(received_.peer_boot_id());
        known.set_heard_sequence(received_.heard_sequence());
        *known.mutable_macs() = received_.macs();
        received_ = std::move(known);
    }
    const Verdict verdict = core_->on_heartbeat(boottime_now(), link, received_, actions_);
    if (verdict != Verdict::accepted) ++counters_["dropped_" + std::string(name_of(verdict))];
}

void Daemon::on_report(const KernelReport& report) {
    if (ended_) return;
    AddressReport out;
    out.epoch = report.epoch;
    out.complete = report.complete;
    out.lapsed = !report.lapsed.empty();
    for (const KernelAddress& address : report.held) out.held.push_back(address.prefix.address);
    for (const MissingAddress& missing : report.missing) {
        out.failed.emplace_back(missing.address.prefix.address, missing.reason);
        out.others_here = out.others_here || missing.conflict;
    }
    for (const KernelAddress& address : report.removed_by_others)
        out.removed_by_others.push_back(address.prefix.address);
    if (report.complete && report.took > Duration{0}) {
        counters_["last_address_work_us"] =
            static_cast<std::uint64_t>(std::chrono::duration_cast<microseconds>(report.took).count());
    }
    core_->on_addresses(boottime_now(), out, actions_);
    publish_soon();
    turn();
}

void Daemon::on_link_event(const net::Link& link, bool removed) {
    ++interface_events_;
    if (removed) interfaces_.links.erase(link.index);
    else interfaces_.links[link.index] = link;
    interfaces_dirty_ = true;
    request_turn();
}

void Daemon::on_address_event(const net::Address& address, bool removed) {
    if (address.ours()) return;
    ++interface_events_;
    auto& known = interfaces_.addresses;
    std::erase_if(known,
                  [&](const net::Address& a) { return a.ifindex == address.ifindex && a.prefix == address.prefix; });
    constexpr std::size_t addresses_max = 100'000;
    if (!removed && known.size() < addresses_max) known.push_back(address);
    interfaces_dirty_ = true;
    request_turn();
    // It may be what a floating IP waits for, or tell which interface a heartbeat path is on.
    const bool tells = std::any_of(setup_.links.begin(), setup_.links.end(), [&](const LinkSetup& link) {
        return link.kind == LinkKind::udp && !link.bound && link.local == address.prefix.address;
    });
    if (!removed && (tells || !setup_.without_interface.empty())) reload();
}

// The kernel had to drop events: read everything anew, on a thread that may wait.
void Daemon::on_overrun() {
    ++counters_["netlink_overruns"];
    ++interface_events_;
    if (!std::exchange(dumping_, true)) dump_interfaces();
}

void Daemon::dump_interfaces() {
    files_->run([this, asked_at = interface_events_] {
        boost::asio::post(io_, [this, asked_at, fresh = read_interfaces()]() mutable {
            if (!ended_) finish_dump(std::move(fresh), asked_at);
        });
    });
}

// What changed meanwhile may be newer than what was read: then it is read again.
void Daemon::finish_dump(std::optional<Interfaces> fresh, std::uint64_t asked_at) {
    monitor_->drain();
    if (fresh && asked_at == interface_events_) {
        dumping_ = false;
        take_interfaces(std::move(*fresh));
        turn();
        return;
    }
    dump_timer_.expires_after(fresh ? 50ms : 1s);
    dump_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) dump_interfaces();
    });
}

std::optional<Daemon::Interfaces> Daemon::read_interfaces() {
    auto netlink = net::Netlink::open();
    if (!netlink) return std::nullopt;
    const auto links = netlink->links();
    const auto addresses = netlink->addresses();
    if (!links || !addresses) return std::nullopt;
    Interfaces fresh;
    for (const net::Link& link : *links) fresh.links[link.index] = link;
    for (const net::Address& address : *addresses) {
        if (!address.ours()) fresh.addresses.push_back(address);
    }
    return fresh;
}

void Daemon::take_interfaces(Interfaces interfaces) {
    interfaces_ = std::move(interfaces);
    interfaces_dirty_ = true;
    tell_interfaces();
}

void Daemon::tell_interfaces() {
    if (!std::exchange(interfaces_dirty_, false)) return;
    std::vector<net::Link> links;
    std::vector<InterfaceFact> facts;
    for (const auto& [index, link] : interfaces_.links) {
        links.push_back(link);
        facts.push_back({link.name, link.up && link.carrier, link.mac});
    }
    prober_->set_interfaces(links, interfaces_.addresses);
    core_->on_interfaces(boottime_now(), facts, actions_);
    publish_soon();
}

// Without services nothing can be missing.
void Daemon::tell_forwarder() {
    if (ended_) return;
    const std::optional<bool> able = setup_.services == 0 ? true : forwarder_->able();
    if (able) core_->on_forwarder(boottime_now(), *able);
    publish_soon();
}

void Daemon::on_call(const bus::Call& call, bus::Server::Respond respond) {
    Command command;
    command.id = next_call_++;
    switch (call.request_case()) {
        case bus::Call::kActivate:
            command.kind = CommandKind::activate;
            command.force = call.activate().force();
            break;
        case bus::Call::kStandby:
            command.kind = CommandKind::standby;
            command.force = call.standby().force();
            break;
        case bus::Call::kUnstandby:
            command.kind = CommandKind::unstandby;
            break;
        case bus::Call::kHeartbeatRestart:
            command.kind = CommandKind::restart;
            break;
        case bus::Call::kReload:
            calls_[command.id] = std::move(respond);
            reload_callers_.push_back(command.id);
            reload();
            return;
        default: {
            bus::Reply reply;
            reply.set_exit_code(2);
            reply.set_message("heartbeatd does not know this request");
            reply.set_hint("is the command line newer than the daemon?");
            respond(std::move(reply));
            return;
        }
    }
    calls_[command.id] = std::move(respond);
    core_->on_command(boottime_now(), command, actions_);
    turn();
}

void Daemon::wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
        if (error) return;
        wait_for_signal();
        if (signal == SIGHUP) return reload();
        if (signal == SIGUSR2) return end(Ending::left, 0ms);
        spdlog::info("signal={}: handing over, releasing, ending", signal);
        notify_supervisor("STOPPING=1");
        stopping_ = true;
        core_->on_stop(boottime_now());
        turn();
    });
}

void Daemon::arm_timer() {
    const auto at = core_->next_deadline().time_since_epoch();
    if (std::exchange(armed_for_, at) == at) return;  // what was heard mostly changes no deadline
    itimerspec when{};
    when.it_value.tv_sec = std::chrono::duration_cast<seconds>(at).count();
    when.it_value.tv_nsec = (at % 1s).count();
    ::timerfd_settime(timer_.native_handle(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Daemon::wait_for_timer() {
    timer_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
        if (error) return;
        armed_for_ = {};  // setting the timer anew also takes back that it is readable
        turn();
        if (!ended_) wait_for_timer();
    });
}

// ---- configuration ----

void Daemon::reload() {
    if (reloading_) {
        reload_again_ = true;
        return;
    }
    reloading_ = true;
    files_->run([this, callers = std::exchange(reload_callers_, {})] {
        Loaded loaded;
        auto netlink = net::Netlink::open();
        if (!netlink) {
            loaded.error = netlink.error().message;
        } else {
            const auto links = netlink->links();
            const auto addresses = netlink->addresses();
            if (!links || !addresses) {
                loaded.error = "the interfaces cannot be read";
            } else {
                loaded = load_setup(paths_, *links, *addresses, Reading::running);
            }
        }
        boost::asio::post(io_, [this, callers, loaded = std::move(loaded)] { finish_reload(loaded, callers); });
    });
}

void Daemon::finish_reload(Loaded loaded, const std::vector<std::uint64_t>& callers) {
    reloading_ = false;
    if (ended_) return;
    const std::string& error = loaded.error;
    const auto& next = loaded.setup;
    if (error != config_error_ && !error.empty()) {
        spdlog::error("configuration refused, the old one stays in force: {}", error);
        note("config-refused", Severity::warning,
             "the configuration was refused, the old one stays in force: " + error);
    }
    config_error_ = error;
    const bool goes_on = !next || apply(*next, std::move(loaded.keys));
    publish_config();
    if (next && goes_on) {
        answer_reload(callers, boottime_now() + 3s);
    } else {
        for (const std::uint64_t caller : callers) {
            act(next ? Answer{caller, 0, "the configuration is in force after a restart", ""}
                     : Answer{caller, 3, "the configuration was refused: " + error, "the old one stays in force"});
        }
    }
    publish_soon();
    if (std::exchange(reload_again_, false)) reload();
}

// In force is a configuration when its addresses are in the kernel; one that cannot be there soon has an alarm.
void Daemon::answer_reload(const std::vector<std::uint64_t>& callers, Instant until) {
    if (callers.empty() || ended_) return;
    if (core_->addresses_settled() || boottime_now() >= until) {
        for (const std::uint64_t caller : callers) act(Answer{caller, 0, "the configuration is in force", ""});
        return;
    }
    auto timer = std::make_shared<boost::asio::steady_timer>(io_, 10ms);
    timer->async_wait([this, timer, callers, until](const boost::system::error_code& error) {
        if (!error) answer_reload(callers, until);
    });
}

// False: this process starts anew.
bool Daemon::apply(const Setup& next, std::optional<KeyRing> keys) {
    config_applied_ms_ = realtime_ms_now();
    if (setup_.needs_restart(next)) {
        note("restart", Severity::info, "links, node or key changed: starting anew; the addresses stay");
        end(Ending::restart, 30ms);  // the answer to the reload goes out first
        return false;
    }
    if (codec_ && keys && codec_->key_ring().fingerprint() != keys->fingerprint()) {
        codec_->set_keys(std::move(*keys));
        note("keys-changed", Severity::info, "the keys of the heartbeats changed: " + codec_->key_ring().fingerprint());
    }
    const bool changed = setup_.digest != next.digest || setup_.settings.floating_ips != next.settings.floating_ips;
    setup_ = next;
    set_log_level(setup_.log_level);
    pinger_->set_nodes(setup_.settings.ping_nodes);
    prober_->set_addresses(watched());
    worker_->set_options(worker_options());
    core_->on_settings(boottime_now(), setup_.settings, actions_);
    tell_forwarder();
    if (changed) {
        note("config-applied", Severity::info,
             "configuration revision " + std::to_string(setup_.settings.config_revision) + " is in force");
    }
    carry_out();                                 // new addresses may have to wait for their check
    if (wanted_) worker_->set_target(target());  // lease and list; the same epoch is no new claim
    turn();
    return true;
}

WorkerOptions Daemon::worker_options() const {
    WorkerOptions options;
    options.announce.packets_per_second = setup_.announce_rate;
    options.announce.refresh = setup_.announce_refresh;
    options.ping_nodes = setup_.settings.ping_nodes;
    return options;
}

std::vector<AddressProber::Watched> Daemon::watched() const {
    std::vector<AddressProber::Watched> out;
    for (const FloatingIp& ip : setup_.settings.floating_ips) out.push_back({ip.address.address, ip.interface});
    return out;
}

AddressTarget Daemon::target() const {
    AddressTarget out;
    out.epoch = wanted_->epoch;
    out.wanted = wanted_->wanted;
    out.announce = wanted_->announce;
    for (const FloatingIp& ip : setup_.settings.floating_ips) {
        const auto& held_back = wanted_->held_back;  // sorted
        if (std::binary_search(held_back.begin(), held_back.end(), ip.address.address)) continue;
        out.addresses.push_back({ip.address, ip.interface});
    }
    if (wanted_->adopted) out.adopted = leftovers_;
    out.lease = std::chrono::ceil<seconds>(setup_.settings.vip_lease);
    out.permit_until = permit_;
    return out;
}

}  // namespace lbcluster::heartbeat
