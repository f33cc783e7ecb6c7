#include "connection.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string_view>
#include <utility>

namespace lbcluster::bus {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;

constexpr auto frame_time_max = 2s;
constexpr std::size_t calls_in_flight_max = 8;
constexpr std::size_t words_max = 16;           // then we read no more until the client reads
constexpr int frames_per_turn = 8;              // the loop is real-time: others get their turn
constexpr std::size_t batch_bytes = 64 * 1024;  // a snapshot or update frame; one larger item goes alone
constexpr std::size_t dirty_keys_min = 1024;    // a client may always be that far behind without a new snapshot
constexpr std::size_t program_bytes_max = 64;

// Protobuf by hand (encoding: field number << 3 | 2, length, bytes), so that an item is encoded once for all clients.
void append_field(std::string& out, unsigned number, std::string_view bytes) {
    out.push_back(static_cast<char>(number << 3U | 2U));
    for (std::size_t rest = bytes.size();; rest >>= 7U) {
        if (rest < 0x80) {
            out.push_back(static_cast<char>(rest));
            break;
        }
        out.push_back(static_cast<char>(0x80U | (rest & 0x7FU)));
    }
    out += bytes;
}

std::string items_frame(unsigned frame_field, const std::string& message) {
    std::string body;
    body.reserve(message.size() + 8);
    append_field(body, frame_field, message);
    return frame_header(body.size()) + body;
}

// Calls back exactly once: with the handler's reply, or when the handler let go of it without one.
class Responder {
  public:
    explicit Responder(std::function<void(Reply)> deliver) : deliver_(std::move(deliver)) {}
    Responder(const Responder&) = delete;
    Responder& operator=(const Responder&) = delete;
    ~Responder() {
        Reply reply;
        reply.set_exit_code(1);
        reply.set_message("the daemon dropped the call without an answer");
        reply.set_hint("see its log");
        operator()(std::move(reply));
    }
    void operator()(Reply reply) {
        if (auto deliver = std::exchange(deliver_, nullptr)) {
            deliver(std::move(reply));
        }
    }

  private:
    std::function<void(Reply)> deliver_;
};

}  // namespace

Connection::Connection(Socket socket, PeerCredentials peer, std::weak_ptr<ConnectionHost> host)
    : socket_(std::move(socket)), peer_(std::move(peer)), host_(std::move(host)), deadline_(socket_.get_executor()) {}

void Connection::start() {
    const auto host = host_.lock();
    if (!host) {
        return;
    }
    Frame frame;
    frame.mutable_hello()->set_protocol(protocol_version);
    frame.mutable_hello()->set_program(host->options().program);
    frame.mutable_hello()->set_version(host->options().version);
    say(frame);
    arm_deadline();
    read();
}

void Connection::close() {
    if (phase_ == Phase::closed) {
        return;
    }
    phase_ = Phase::closed;
    deadline_.cancel();
    error_code ignored;
    socket_.close(ignored);
    if (const auto host = host_.lock()) {
        host->gone(this);
    }
}

void Connection::violation(const std::string& what) {
    if (phase_ == Phase::closed) {
        return;
    }
    if (const auto host = host_.lock()) {
        ++host->count().disconnected;
        host->warn("disconnected a bus client: " + what + " program=" + program_ + " pid=" + std::to_string(peer_.pid) +
                   " uid=" + std::to_string(peer_.uid));
    }
    close();
}

void Connection::finish() {
    if (phase_ == Phase::closed || phase_ == Phase::finishing) {
        return;
    }
    phase_ = Phase::finishing;
    disarm_deadline();
    arm_deadline();
    schedule_pump();
}

void Connection::arm_deadline() {
    if (std::exchange(deadline_armed_, true)) {
        return;
    }
    deadline_.expires_after(frame_time_max);
    deadline_.async_wait([self = shared_from_this()](error_code error) {
        const bool rearmed = self->deadline_.expiry() > boost::asio::steady_timer::clock_type::now();
        if (error || rearmed || !self->deadline_armed_) {
            return;
        }
        switch (self->phase_) {
            case Phase::hello:
                return self->violation("no hello within 2 s");
            case Phase::serving:
                return self->violation("half a frame (" + std::to_string(self->decoder_.buffered_bytes()) +
                                       " bytes) for 2 s");
            default:
                return self->close();
        }
    });
}

void Connection::disarm_deadline() {
    if (std::exchange(deadline_armed_, false)) {
        deadline_.cancel();
    }
}

void Connection::read() {
    if (reading_ || phase_ == Phase::closed || phase_ == Phase::finishing) {
        return;
    }
    reading_ = true;
    socket_.async_read_some(boost::asio::buffer(input_), [self = shared_from_this()](error_code error, std::size_t n) {
        self->reading_ = false;
        if (self->phase_ == Phase::closed) {
            return;
        }
        if (error) {
            if (self->decoder_.in_frame()) {
                return self->violation("closed in the middle of a frame");
            }
            return self->close();
        }
        self->decoder_.append({self->input_.data(), n});
        self->process();
    });
}

void Connection::process() {
    for (int i = 0; i < frames_per_turn && words_.size() < words_max; ++i) {
        if (phase_ == Phase::closed || phase_ == Phase::finishing) {
            return;
        }
        const auto frame = decoder_.next();
        if (!frame.ok()) {
            return violation(frame.error().message);
        }
        if (!frame.value()) {
            break;
        }
        const bool greeted = phase_ != Phase::hello;
        handle(**frame);
        if (greeted) {
            disarm_deadline();  // whatever follows is another frame, with time of its own
        }
    }
    if (phase_ == Phase::closed || phase_ == Phase::finishing) {
        return;
    }
    if (words_.size() >= words_max) {
        disarm_deadline();
        return;  // the next finished write goes on
    }
    const bool half_frame = decoder_.in_frame() && !decoder_.ready();
    if (phase_ == Phase::hello || half_frame) {
        arm_deadline();
    } else {
        disarm_deadline();
    }
    if (decoder_.ready()) {
        boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->process(); });
        return;
    }
    read();
}

void Connection::handle(const Frame& frame) {
    if (phase_ == Phase::hello) {
        return frame.has_hello() ? handle_hello(frame.hello()) : violation("the first frame is not a hello");
    }
    switch (frame.body_case()) {
        case Frame::kWatch:
            return handle_watch(frame.watch());
        case Frame::kCall:
            return handle_call(frame.call());
        case Frame::BODY_NOT_SET:
            return;  // of a newer version
        default:
            return violation("a client may not send this kind of frame (" + std::to_string(frame.body_case()) + ")");
    }
}

void Connection::handle_hello(const Hello& hello) {
    program_.clear();
    for (const char c : hello.program().substr(0, program_bytes_max)) {
        program_.push_back(c > ' ' && c < 0x7F ? c : '?');
    }
    if (hello.protocol() != protocol_version) {
        // Our own hello tells the client why.
        if (const auto host = host_.lock()) {
            host->warn("bus client speaks another protocol: protocol=" + std::to_string(hello.protocol()) +
                       " program=" + program_);
        }
        return finish();
    }
    phase_ = Phase::serving;
    disarm_deadline();
}

void Connection::handle_watch(const Watch& watch) {
    const auto host = host_.lock();
    if (!host) {
        return;
    }
    if (prefix_) {
        return violation("a second watch on one connection");
    }
    if (!host->may_read(peer_)) {
        refuse(0, 5, "uid " + std::to_string(peer_.uid) + " may not read the state of " + host->options().program,
               "use root or a member of the group '" + host->options().group + "'");
        return finish();
    }
    prefix_ = watch.prefix();
    in_snapshot_ = true;
    schedule_pump();
}

void Connection::handle_call(const Call& call) {
    const auto host = host_.lock();
    if (!host) {
        return;
    }
    if (!peer_.trusted()) {
        return refuse(call.id(), 5,
                      "uid " + std::to_string(peer_.uid) + " may not change anything in " + host->options().program,
                      "use root (sudo)");
    }
    if (call.request_case() == Call::REQUEST_NOT_SET) {
        return refuse(call.id(), 1,
                      host->options().program + " " + host->options().version + " does not know this call",
                      "use the same version of lbcluster for all programs");
    }
    if (calls_.size() >= calls_in_flight_max) {
        return refuse(call.id(), 1, "more than " + std::to_string(calls_in_flight_max) + " calls at once",
                      "wait for an answer first");
    }
    if (!calls_.insert(call.id()).second) {
        return violation("two calls in flight with the same id");
    }
    auto responder = std::make_shared<Responder>([weak = weak_from_this(), id = call.id()](Reply reply) {
        if (const auto self = weak.lock()) {
            self->answer(id, std::move(reply));
        }
    });
    host->dispatch(call, peer_, [responder](Reply reply) { (*responder)(std::move(reply)); });
}

void Connection::answer(std::uint64_t id, Reply reply) {
    if (calls_.erase(id) == 0 || phase_ == Phase::closed) {
        return;
    }
    reply.set_id(id);
    Frame frame;
    *frame.mutable_reply() = std::move(reply);
    say(frame);
}

void Connection::refuse(std::uint64_t id, std::uint32_t exit_code, std::string message, std::string hint) {
    Frame frame;
    frame.mutable_reply()->set_id(id);
    frame.mutable_reply()->set_exit_code(exit_code);
    frame.mutable_reply()->set_message(std::move(message));
    frame.mutable_reply()->set_hint(std::move(hint));
    say(frame);
}

void Connection::say(const Frame& frame) {
    auto bytes = encode_frame(frame);
    if (!bytes.ok()) {
        return violation("an answer cannot be sent: " + bytes.error().message);
    }
    words_.push_back(std::move(*bytes));
    schedule_pump();
}

void Connection::mark(const std::string& key) {
    if (!prefix_ || phase_ != Phase::serving || key.compare(0, prefix_->size(), *prefix_) != 0) {
        return;
    }
    if (resync_ || (in_snapshot_ && (cursor_at_start_ || key > cursor_))) {
        return;  // a snapshot has yet to come there
    }
    dirty_.insert(key);
    const auto host = host_.lock();
    if (host && dirty_.size() > std::max(dirty_keys_min, 2 * host->items().size())) {
        // Mostly keys that are gone: a new snapshot says the same in less.
        dirty_.clear();
        resync_ = true;
        ++host->count().resyncs;
    }
    schedule_pump();
}

std::size_t Connection::backlog_bytes() const {
    std::size_t bytes = writing_.size();
    for (const auto& word : words_) {
        bytes += word.size();
    }
    for (const auto& key : dirty_) {
        bytes += key.size();
    }
    return bytes;
}

void Connection::schedule_pump() {
    if (write_in_flight_ || std::exchange(pump_scheduled_, true)) {
        return;
    }
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
        self->pump_scheduled_ = false;
        self->pump();
    });
}

void Connection::pump() {
    if (phase_ == Phase::closed || write_in_flight_) {
        return;
    }
    writing_ = next_bytes();
    if (writing_.empty()) {
        if (phase_ == Phase::finishing) {
            close();
        }
        return;
    }
    write_in_flight_ = true;
    boost::asio::async_write(socket_, boost::asio::buffer(writing_),
                             [self = shared_from_this()](error_code error, std::size_t /*bytes*/) {
                                 self->write_in_flight_ = false;
                                 self->writing_ = {};
                                 if (error) {
                                     return self->close();
                                 }
                                 self->schedule_pump();
                                 if (!self->reading_) {
                                     self->process();
                                 }
                             });
}

std::string Connection::next_bytes() {
    if (!words_.empty()) {
        std::string bytes = std::move(words_.front());
        words_.pop_front();
        return bytes;
    }
    const auto host = host_.lock();
    if (!host || !prefix_ || phase_ != Phase::serving) {
        return {};
    }
    if (resync_ && !in_snapshot_) {  // a snapshot under way ends first: what it told is replaced by the next one
        resync_ = false;
        in_snapshot_ = true;
        cursor_at_start_ = true;
    }
    if (in_snapshot_) {
        return next_snapshot(*host);
    }
    return dirty_.empty() ? std::string{} : next_update(*host);
}

std::string Connection::next_snapshot(const ConnectionHost& host) {
    const Items& items = host.items();
    auto it = cursor_at_start_ ? items.lower_bound(*prefix_) : items.upper_bound(cursor_);
    const auto inside = [&] { return it != items.end() && it->first.compare(0, prefix_->size(), *prefix_) == 0; };
    std::string message;
    for (; inside() && (message.empty() || message.size() + it->second.wire.size() <= batch_bytes); ++it) {
        append_field(message, Snapshot::kItemsFieldNumber, host.fresh_wire(it->second));
        cursor_ = it->first;
        cursor_at_start_ = false;
    }
    if (!inside()) {
        in_snapshot_ = false;
        message.push_back(static_cast<char>(Snapshot::kLastFieldNumber << 3));
        message.push_back(1);
    }
    return items_frame(Frame::kSnapshot, message);
}

std::string Connection::next_update(const ConnectionHost& host) {
    std::string message;
    while (!dirty_.empty()) {
        const auto it = host.items().find(*dirty_.begin());
        std::string gone;
        if (it == host.items().end()) {
            Item item;
            item.set_key(*dirty_.begin());
            item.set_generation(host.generation());
            item.set_removed(true);
            gone = item.SerializeAsString();
        }
        const std::string& wire = it == host.items().end() ? gone : it->second.wire;
        if (!message.empty() && message.size() + wire.size() > batch_bytes) {
            break;
        }
        append_field(message, Update::kItemsFieldNumber, wire);
        dirty_.erase(dirty_.begin());
    }
    return items_frame(Frame::kUpdate, message);
}

}  // namespace lbcluster::bus
