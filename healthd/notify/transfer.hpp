// Transfers by libcurl, on threads of their own: libcurl blocks in places, even with its multi interface. It reads the
// system's certificates (0.1 s), waits for a mail server's answer to QUIT, and may wait for its resolver. None of that
// may hold up the probes. The threads share nothing with the daemon's: a transfer goes in, its end is posted back.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lbcluster/base/time.hpp"

namespace lbcluster::health {

// One transfer: options are set before it starts. Owns what the options point to. Answers are read and forgotten.
class Transfer {
  public:
    explicit Transfer(milliseconds timeout);  // for all of it
    ~Transfer();
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

    template <class Value>
    void set(CURLoption option, Value value) {
        ok_ = ok_ && curl_easy_setopt(easy_, option, value) == CURLE_OK;
    }
    // A list for `option`: headers, recipients.
    void set_list(CURLoption option, const std::vector<std::string>& lines);
    // What is sent as the body of an upload.
    void set_upload(std::string bytes);
    // False: libcurl did not take an option.
    [[nodiscard]] bool ok() const { return ok_; }

    struct End {
        std::string error;  // empty: it went well as far as the protocol is concerned
        long status = 0;    // of the last answer
    };
    // Blocks. Ends soon once `stop` is set.
    End perform(const std::atomic<bool>& stop);

  private:
    static std::size_t read(char* to, std::size_t size, std::size_t count, void* self);
    static int look_at_stop(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

    CURL* easy_;
    bool ok_ = true;
    std::vector<curl_slist*> lists_;
    std::string upload_;
    std::size_t uploaded_bytes_ = 0;
    std::string error_;  // of CURL_ERROR_SIZE
};

class Transfers {
  public:
    using Done = std::function<void(const Transfer::End&)>;

    static constexpr std::size_t at_once_max = 4;  // more wait for their turn

    explicit Transfers(boost::asio::io_context& io) : io_(io) {}
    ~Transfers();  // ends all of them within about a second; no `done`
    Transfers(const Transfers&) = delete;
    Transfers& operator=(const Transfers&) = delete;

    // `done` is called once, on the io_context's thread, never from inside start().
    void start(std::unique_ptr<Transfer> transfer, Done done);

  private:
    boost::asio::io_context& io_;
    std::atomic<bool> stop_{false};
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // of the io_context's thread
    std::unique_ptr<boost::asio::thread_pool> threads_;           // made when first needed
};

}  // namespace lbcluster::health
