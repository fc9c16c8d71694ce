"""ClickHouse's error numbers that the HTTP layer knows, and the HTTP status of each."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ErrorCode", "http_status"]


class ErrorCode(IntEnum):
    """Names and numbers as `errorCodeToName` of the engine gives them (a contract test checks)."""

    CANNOT_PARSE_TEXT = 6
    THERE_IS_NO_COLUMN = 8
    DUPLICATE_COLUMN = 15
    CANNOT_PARSE_ESCAPE_SEQUENCE = 25
    CANNOT_PARSE_QUOTED_STRING = 26
    CANNOT_PARSE_INPUT_ASSERTION_FAILED = 27
    BAD_ARGUMENTS = 36
    UNKNOWN_ELEMENT_IN_AST = 37
    CANNOT_PARSE_DATE = 38
    CHECKSUM_DOESNT_MATCH = 40
    CANNOT_PARSE_DATETIME = 41
    ILLEGAL_COLUMN = 44
    UNKNOWN_FUNCTION = 46
    UNKNOWN_IDENTIFIER = 47
    NOT_IMPLEMENTED = 48
    UNKNOWN_TYPE = 50
    TYPE_MISMATCH = 53
    UNKNOWN_STORAGE = 56
    UNKNOWN_TABLE = 60
    SYNTAX_ERROR = 62
    UNKNOWN_AGGREGATE_FUNCTION = 63
    CANNOT_PARSE_NUMBER = 72
    UNKNOWN_FORMAT = 73
    CANNOT_WRITE_TO_FILE_DESCRIPTOR = 75
    CANNOT_OPEN_FILE = 76
    UNKNOWN_TYPE_OF_QUERY = 78
    UNKNOWN_DATABASE = 81
    UNKNOWN_COMPRESSION_METHOD = 89
    UNKNOWN_SETTING = 115
    INCORRECT_DATA = 117
    UNKNOWN_TYPE_OF_AST_NODE = 123
    UNKNOWN_DIRECTION_OF_SORTING = 152
    TIMEOUT_EXCEEDED = 159
    READONLY = 164
    TOO_DEEP_AST = 167
    TOO_BIG_AST = 168
    UNKNOWN_USER = 192
    WRONG_PASSWORD = 193
    REQUIRED_PASSWORD = 194
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    SOCKET_TIMEOUT = 209
    UNEXPECTED_AST_STRUCTURE = 223
    QUERY_IS_TOO_LARGE = 229
    ABORTED = 236
    NOT_ENOUGH_SPACE = 243
    CANNOT_DECOMPRESS = 271
    LIMIT_EXCEEDED = 290
    VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE = 321
    UNKNOWN_DATABASE_ENGINE = 336
    INTO_OUTFILE_NOT_ALLOWED = 358
    SESSION_NOT_FOUND = 372
    SESSION_IS_LOCKED = 373
    INVALID_SESSION_TIMEOUT = 374
    CANNOT_PARSE_UUID = 376
    HTTP_LENGTH_REQUIRED = 381
    CANNOT_COMPILE_REGEXP = 427
    CANNOT_SCHEDULE_TASK = 439
    CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING = 441
    ACCESS_DENIED = 497
    UNKNOWN_ROLE = 511
    SET_NON_GRANTED_ROLE = 512
    AUTHENTICATION_FAILED = 516
    CANNOT_PARSE_IPV4 = 675
    CANNOT_PARSE_IPV6 = 676
    UNSUPPORTED_MEDIA_TYPE = 779
    UNKNOWN_EXCEPTION = 1002


# Grouped as ClickHouse's own HTTP interface groups them; all others are 500.
_CODES_OF_STATUS: dict[int, tuple[ErrorCode, ...]] = {
    401: (ErrorCode.REQUIRED_PASSWORD,),
    403: (
        ErrorCode.UNKNOWN_USER,
        ErrorCode.WRONG_PASSWORD,
        ErrorCode.AUTHENTICATION_FAILED,
        ErrorCode.SET_NON_GRANTED_ROLE,
        ErrorCode.ACCESS_DENIED,
    ),
    400: (
        ErrorCode.BAD_ARGUMENTS,
        ErrorCode.CANNOT_COMPILE_REGEXP,
        ErrorCode.CANNOT_PARSE_TEXT,
        ErrorCode.CANNOT_PARSE_ESCAPE_SEQUENCE,
        ErrorCode.CANNOT_PARSE_QUOTED_STRING,
        ErrorCode.CANNOT_PARSE_DATE,
        ErrorCode.CANNOT_PARSE_DATETIME,
        ErrorCode.CANNOT_PARSE_NUMBER,
        ErrorCode.CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING,
        ErrorCode.CANNOT_PARSE_IPV4,
        ErrorCode.CANNOT_PARSE_IPV6,
        ErrorCode.CANNOT_PARSE_INPUT_ASSERTION_FAILED,
        ErrorCode.CANNOT_PARSE_UUID,
        ErrorCode.DUPLICATE_COLUMN,
        ErrorCode.ILLEGAL_COLUMN,
        ErrorCode.UNKNOWN_ELEMENT_IN_AST,
        ErrorCode.UNKNOWN_TYPE_OF_AST_NODE,
        ErrorCode.THERE_IS_NO_COLUMN,
        ErrorCode.TOO_DEEP_AST,
        ErrorCode.TOO_BIG_AST,
        ErrorCode.UNEXPECTED_AST_STRUCTURE,
        ErrorCode.SYNTAX_ERROR,
        ErrorCode.INCORRECT_DATA,
        ErrorCode.TYPE_MISMATCH,
        ErrorCode.VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE,
    ),
    404: (
        ErrorCode.UNKNOWN_TABLE,
        ErrorCode.UNKNOWN_FUNCTION,
        ErrorCode.UNKNOWN_IDENTIFIER,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.UNKNOWN_STORAGE,
        ErrorCode.UNKNOWN_DATABASE,
        ErrorCode.UNKNOWN_SETTING,
        ErrorCode.UNKNOWN_DIRECTION_OF_SORTING,
        ErrorCode.UNKNOWN_AGGREGATE_FUNCTION,
        ErrorCode.UNKNOWN_FORMAT,
        ErrorCode.UNKNOWN_DATABASE_ENGINE,
        ErrorCode.UNKNOWN_TYPE_OF_QUERY,
        ErrorCode.UNKNOWN_ROLE,
    ),
    408: (ErrorCode.TIMEOUT_EXCEEDED,),
    411: (ErrorCode.HTTP_LENGTH_REQUIRED,),
    413: (ErrorCode.QUERY_IS_TOO_LARGE,),
    415: (ErrorCode.UNSUPPORTED_MEDIA_TYPE,),
    501: (ErrorCode.NOT_IMPLEMENTED,),
    503: (
        ErrorCode.SOCKET_TIMEOUT,
        ErrorCode.CANNOT_OPEN_FILE,
        ErrorCode.CANNOT_SCHEDULE_TASK,
    ),
}
_STATUS_OF = {code: status for status, codes in _CODES_OF_STATUS.items() for code in codes}
_KNOWN = frozenset(int(code) for code in ErrorCode)


def http_status(code: int) -> int:
    """Give the HTTP status for an error number; 500 for those without a status of their own."""
    return _STATUS_OF.get(ErrorCode(code), 500) if code in _KNOWN else 500
