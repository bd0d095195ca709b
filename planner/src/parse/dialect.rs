//! The SQL that sqlparser reads for us: its generic dialect, less the clauses of other systems that nothing here would honour.

use std::any::TypeId;

use datafusion_sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion_sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

/// Our dialect. It calls itself generic, so that what sqlparser keeps for PostgreSQL and generic SQL is read.
#[derive(Debug)]
pub(super) struct StreamingDialect;

macro_rules! yes {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { true })* };
}

impl Dialect for StreamingDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    /// After a comma and as an alias, `offset` is a name, unless a number of rows follows: sources and errors have such a column.
    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        match keyword {
            Keyword::OFFSET => !matches!(parser.peek_token().token, Token::Number(..) | Token::Placeholder(_) | Token::LParen),
            other => !RESERVED_FOR_COLUMN_ALIAS.contains(other),
        }
    }

    yes! {
        supports_match_recognize
        supports_unicode_string_literal
        supports_group_by_expr
        supports_window_function_null_treatment_arg
        supports_window_clause_named_window_reference
        supports_dictionary_syntax
        support_map_literal_syntax
        supports_struct_literal
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_parens_around_table_factor
        supports_values_as_table_factor
        supports_from_first_select
        supports_projection_trailing_commas
        supports_try_convert
        supports_bitwise_shift_operators
        supports_named_fn_args_with_assignment_operator
        supports_nested_comments
        supports_string_escape_constant
        supports_array_typedef_with_brackets
        supports_filter_during_aggregation
        supports_within_after_array_aggregation
        supports_select_wildcard_except
        supports_select_wildcard_exclude
        supports_select_wildcard_replace
        supports_select_wildcard_rename
        supports_limit_comma
        supports_order_by_all
        supports_boolean_literals
        supports_numeric_literal_underscores
        supports_comma_separated_trim
        supports_left_associative_joins_without_parens
        supports_table_versioning
    }
}
