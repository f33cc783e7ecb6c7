// Result<T>: a value, or an Error that the caller can act on. Errors from outside (packet, file, peer,
// kernel) travel as values; exceptions are for programming errors and start-up only.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "lbcluster/base/assert.hpp"

namespace lbcluster {

// What failed, on what, why - and what to do. `code` is an errno value where there is one, else 0.
struct Error {
    std::string message;
    std::string hint;
    int code = 0;
};

template <class T, class E = Error>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(E error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    // Asserts that there is a value.
    [[nodiscard]] T& value() & {
        LBC_ASSERT(ok());
        return std::get<0>(state_);
    }
    [[nodiscard]] const T& value() const& {
        LBC_ASSERT(ok());
        return std::get<0>(state_);
    }
    [[nodiscard]] T&& value() && {
        LBC_ASSERT(ok());
        return std::get<0>(std::move(state_));
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    // Asserts that there is an error.
    [[nodiscard]] const E& error() const {
        LBC_ASSERT(!ok());
        return std::get<1>(state_);
    }

  private:
    std::variant<T, E> state_;
};

template <class E>
class [[nodiscard]] Result<void, E> {
  public:
    Result() = default;
    Result(E error) : error_(std::move(error)), ok_(false) {}
    [[nodiscard]] bool ok() const { return ok_; }
    explicit operator bool() const { return ok_; }
    [[nodiscard]] const E& error() const {
        LBC_ASSERT(!ok_);
        return error_;
    }

  private:
    E error_{};
    bool ok_ = true;
};

}  // namespace lbcluster
