#include "heartbeat/wire/serial_link.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace lbcluster::heartbeat {

namespace {

namespace asio = boost::asio;

struct Speed {
    unsigned baud;
    speed_t constant;
};
constexpr std::array<Speed, 18> speeds{{{9600, B9600},
                                        {19200, B19200},
                                        {38400, B38400},
                                        {57600, B57600},
                                        {115200, B115200},
                                        {230400, B230400},
                                        {460800, B460800},
                                        {500000, B500000},
                                        {576000, B576000},
                                        {921600, B921600},
                                        {1000000, B1000000},
                                        {1152000, B1152000},
                                        {1500000, B1500000},
                                        {2000000, B2000000},
                                        {2500000, B2500000},
                                        {3000000, B3000000},
                                        {3500000, B3500000},
                                        {4000000, B4000000}}};

const Speed* find_speed(unsigned baud) {
    const auto* found = std::find_if(speeds.begin(), speeds.end(), [baud](const Speed& s) { return s.baud == baud; });
    return found == speeds.end() ? nullptr : found;
}

// 0, or the errno of what failed.
int set_raw(int fd, unsigned baud) {
    const Speed* speed = find_speed(baud);
    if (speed == nullptr) return EINVAL;
    termios settings{};
    if (::tcgetattr(fd, &settings) != 0) return errno;
    ::cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL | CREAD;
    settings.c_cflag &= ~static_cast<tcflag_t>(CSTOPB | CRTSCTS | PARENB | HUPCL);
    settings.c_iflag |= IGNPAR | IGNBRK;
    settings.c_cc[VMIN] = 1;  // so that "nothing there" is EAGAIN and 0 bytes is a hang-up
    settings.c_cc[VTIME] = 0;
    ::cfsetispeed(&settings, speed->constant);
    ::cfsetospeed(&settings, speed->constant);
    return ::tcsetattr(fd, TCSANOW, &settings) == 0 ? 0 : errno;
}

}  // namespace

bool is_serial_baud(unsigned baud) { return find_speed(baud) != nullptr; }

SerialLink::SerialLink(asio::io_context& io, SerialLinkOptions options, OnReadable on_readable)
    : options_(std::move(options)),
      on_readable_(std::move(on_readable)),
      line_(io),
      retry_(io),
      line_free_(io),
      back_off_(back_off_min) {}

SerialLink::~SerialLink() {
    // Else close() may wait half a minute for a line that takes nothing.
    if (line_.is_open()) ::tcflush(line_.native_handle(), TCOFLUSH);
}

void SerialLink::start() { open(); }

void SerialLink::open() {
    ++generation_;
    // O_NONBLOCK: a line without carrier must not hold the daemon.
    const int fd = ::open(options_.device.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    int code = fd < 0 ? errno : 0;
    if (code == 0) code = set_raw(fd, options_.baud);
    boost::system::error_code failed;
    if (code == 0) line_.assign(fd, failed);
    if (failed) code = failed.value();
    if (code != 0) {
        if (fd >= 0) ::close(fd);
        ++counters_.open_failures;
        close("cannot open " + options_.device + " at " + std::to_string(options_.baud) + " bit/s", code);
        return;
    }
    note_ = ::ioctl(fd, TIOCEXCL) == 0 ? "" : "cannot keep other programs off " + options_.device;
    ::tcflush(fd, TCIOFLUSH);  // what came while nobody listened is old
    ++counters_.opened;
    error_.clear();
    decoder_.reset();
    current_.size = written_ = waiting_.size = 0;
    write_armed_ = false;
    wait_readable();
}

void SerialLink::close(std::string_view what, int code) {
    error_ = std::string(what) + ": " + (code == 0 ? "hung up" : std::system_category().message(code));
    boost::system::error_code ignored;
    if (line_.is_open()) {
        ::tcflush(line_.native_handle(), TCOFLUSH);
        line_.close(ignored);
    }
    line_free_.cancel();
    ++generation_;
    retry_.expires_after(back_off_);
    back_off_ = std::min(back_off_ * 2, back_off_max);
    retry_.async_wait([this, alive = std::weak_ptr<int>(alive_)](const boost::system::error_code& failed) {
        if (!failed && !alive.expired()) open();
    });
}

void SerialLink::wait_readable() {
    line_.async_wait(
        asio::posix::descriptor_base::wait_read,
        [this, alive = std::weak_ptr<int>(alive_), generation = generation_](const boost::system::error_code& failed) {
            if (failed || alive.expired() || generation != generation_) return;
            on_readable_();
            if (!alive.expired() && generation == generation_) wait_readable();
        });
}

void SerialLink::send(std::span<const std::uint8_t> datagram) {
    if (!line_.is_open() || datagram.size() > datagram_bytes_max) {
        ++counters_.send_errors;
        return;
    }
    if (waiting_.size != 0) ++counters_.send_busy;  // replaced before it began
    waiting_.size = slip_encode(datagram, waiting_.bytes);
    if (!write_armed_) write_on();
}

// Writes what the line takes; arms a handler if something is left.
void SerialLink::write_on() {
    while (line_.is_open() && (written_ < current_.size || waiting_.size != 0)) {
        if (written_ == current_.size) {
            int queued = 0;
            if (::ioctl(line_.native_handle(), TIOCOUTQ, &queued) == 0 && queued > 0) {
                write_later(std::chrono::microseconds(10'000'000ULL * static_cast<unsigned>(queued) / options_.baud));
                return;
            }
            std::swap(current_, waiting_);
            waiting_.size = written_ = 0;
        }
        const ssize_t n = ::write(line_.native_handle(), current_.bytes.data() + written_, current_.size - written_);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) {
            ++counters_.send_errors;
            close("cannot send on " + options_.device, errno);
            return;
        }
        if (n <= 0) {
            write_when_ready();
            return;
        }
        written_ += static_cast<std::size_t>(n);
        if (written_ == current_.size) {
            ++counters_.sent;
            back_off_ = back_off_min;
        }
    }
}

// The kernel's buffer is full.
void SerialLink::write_when_ready() {
    write_armed_ = true;
    line_.async_wait(
        asio::posix::descriptor_base::wait_write,
        [this, alive = std::weak_ptr<int>(alive_), generation = generation_](const boost::system::error_code& failed) {
            if (failed || alive.expired() || generation != generation_) return;
            write_armed_ = false;
            write_on();
        });
}

// The kernel still has bytes of the last heartbeat, which take about this long (10 bits a byte).
void SerialLink::write_later(std::chrono::microseconds after) {
    write_armed_ = true;
    line_free_.expires_after(std::max(after, std::chrono::microseconds(1000)));
    line_free_.async_wait(
        [this, alive = std::weak_ptr<int>(alive_), generation = generation_](const boost::system::error_code& failed) {
            if (failed || alive.expired() || generation != generation_) return;
            write_armed_ = false;
            write_on();
        });
}

void SerialLink::drain(const OnDatagram& on_datagram) {
    std::size_t frames = 0;
    for (std::size_t round = 0; round < read_rounds_max && frames < drain_max && line_.is_open(); ++round) {
        const ssize_t n = ::read(line_.native_handle(), input_.data(), input_.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) {
            ++counters_.receive_errors;
            close("cannot receive on " + options_.device, n < 0 ? errno : 0);
            break;
        }
        for (const std::uint8_t byte : std::span<const std::uint8_t>(input_).first(static_cast<std::size_t>(n))) {
            const auto frame = decoder_.feed(byte);
            if (!frame) continue;
            ++frames;
            ++counters_.received;
            on_datagram(*frame);
        }
    }
    counters_.frames_damaged = decoder_.damaged();
}

}  // namespace lbcluster::heartbeat
