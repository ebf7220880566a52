<?xml version="1.0" encoding="UTF-8"?>
<!--
  Orders as CSV: a header line, then one line per position, for orders_in and orders_out alike.

  Semicolons separate, CR LF ends a line, as spreadsheets of continental Europe expect. A field that
  holds a semicolon, a quotation mark or a line break is quoted, its quotation marks doubled (RFC 4180).
  What an order does not carry is an empty field. Values are not altered: a spreadsheet may take one
  that begins with "=" for a formula, so open files of a stranger as text.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="text" encoding="UTF-8" media-type="text/csv"/>

  <xsl:variable name="line-end" select="'&#13;&#10;'"/>

  <xsl:template match="/ListOfOrders">
    <xsl:text>OrderID;OrderNo;OrderDate;CustomerNo;PositionNo;PositionID;ItemNo;VariantNo;</xsl:text>
    <xsl:text>Description;Quantity;UnitPrice;TotalPrice;Currency;OrderState</xsl:text>
    <xsl:value-of select="$line-end"/>
    <xsl:apply-templates select="Order/OrderContent/Position"/>
  </xsl:template>

  <xsl:template match="Position">
    <xsl:variable name="order" select="../.."/>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="$order/@OrderID"/>
      <xsl:with-param name="before" select="''"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="$order/@OrderNo"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="$order/OrderHeader/OrderDateAndTime"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="$order/@InvoiceCustomerNo"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="@No"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="@PositionID"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="@ItemNo"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="@VariantNo"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="Description"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="Quantity"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="UnitPrice"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="TotalPrice"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <xsl:with-param name="value" select="$order/OrderHeader/Payment/@Currency"/>
    </xsl:call-template>
    <xsl:call-template name="field">
      <!-- The position's own state, else the default of its order. -->
      <xsl:with-param name="value" select="@OrderState | self::*[not(@OrderState)]/../../@DefaultPositionOrderState"/>
    </xsl:call-template>
    <xsl:value-of select="$line-end"/>
  </xsl:template>

  <xsl:template name="field">
    <xsl:param name="value"/>
    <xsl:param name="before" select="';'"/>
    <xsl:value-of select="$before"/>
    <xsl:variable name="text" select="string($value)"/>
    <xsl:choose>
      <!-- Each sign that asks for quotes is mapped to one of them, so one test finds all four. -->
      <xsl:when test="contains(translate($text, ';&#13;&#10;', '&quot;&quot;&quot;'), '&quot;')">
        <xsl:text>"</xsl:text>
        <xsl:call-template name="double-quotes">
          <xsl:with-param name="text" select="$text"/>
        </xsl:call-template>
        <xsl:text>"</xsl:text>
      </xsl:when>
      <xsl:otherwise>
        <xsl:value-of select="$text"/>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <!-- Halves the text instead of walking along it, so that a text full of quotation marks does not
       run into the limit on template depth. -->
  <xsl:template name="double-quotes">
    <xsl:param name="text"/>
    <xsl:choose>
      <xsl:when test="not(contains($text, '&quot;'))">
        <xsl:value-of select="$text"/>
      </xsl:when>
      <xsl:when test="string-length($text) = 1">
        <xsl:text>""</xsl:text>
      </xsl:when>
      <xsl:otherwise>
        <xsl:variable name="half" select="floor(string-length($text) div 2)"/>
        <xsl:call-template name="double-quotes">
          <xsl:with-param name="text" select="substring($text, 1, $half)"/>
        </xsl:call-template>
        <xsl:call-template name="double-quotes">
          <xsl:with-param name="text" select="substring($text, $half + 1)"/>
        </xsl:call-template>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>
</xsl:stylesheet>
