<?xml version="1.0" encoding="UTF-8"?>
<!--
  orders_in to orders_out, for export-order.sh. An incoming list carries no dates of its orders and no
  ids of its positions, so the list's date stands for the first and order and position number make the
  second: the same document always gives the same orders.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:output method="xml" encoding="UTF-8" indent="yes"/>
  <xsl:strip-space elements="*"/>

  <xsl:key name="order" match="Order" use="normalize-space(@OrderID)"/>

  <xsl:param name="created"/>

  <xsl:template match="/ListOfOrders">
    <ListOfOrders CreationDate="{$created}">
      <!-- A list to be fetched names each order once; of several reports the last one holds. -->
      <xsl:apply-templates select="Order[generate-id() = generate-id(key('order', normalize-space(@OrderID))[last()])]"/>
    </ListOfOrders>
  </xsl:template>

  <!-- Without it the built-in rules would make an empty document of anything. -->
  <xsl:template match="/*" priority="-1">
    <xsl:message terminate="yes">the root element is not ListOfOrders</xsl:message>
  </xsl:template>

  <xsl:template match="Order">
    <Order>
      <xsl:copy-of select="@*"/>
      <OrderHeader>
        <OrderDateAndTime>
          <xsl:call-template name="german-timestamp">
            <xsl:with-param name="date" select="normalize-space(../@CreationDate)"/>
          </xsl:call-template>
        </OrderDateAndTime>
      </OrderHeader>
      <OrderContent>
        <xsl:for-each select="OrderContent/Position">
          <Position No="{@No}" PositionID="{concat(../../@OrderID, '-', @No)}">
            <xsl:copy-of select="@OrderState"/>
          </Position>
        </xsl:for-each>
      </OrderContent>
      <xsl:apply-templates select="OrderInformation | OrderContentInformation"/>
    </Order>
  </xsl:template>

  <!-- Built from scratch, since a copy would drag the namespace declarations of the list along. -->
  <xsl:template match="OrderInformation | OrderContentInformation | Information">
    <xsl:element name="{name()}">
      <xsl:copy-of select="@*"/>
      <xsl:apply-templates/>
    </xsl:element>
  </xsl:template>

  <!-- From 2026-11-22[T04:57:48[.123][zone]] or 22.11.2026[ 04:57:48[:123]] to the full German form.
       The zone is dropped: the German form is the local time of the author. -->
  <xsl:template name="german-timestamp">
    <xsl:param name="date"/>
    <xsl:choose>
      <xsl:when test="substring($date, 5, 1) = '-'">
        <xsl:value-of select="concat(substring($date, 9, 2), '.', substring($date, 6, 2), '.', substring($date, 1, 4), ' ')"/>
        <xsl:choose>
          <xsl:when test="substring($date, 11, 1) = 'T'">
            <xsl:value-of select="concat(substring($date, 12, 8), ':')"/>
            <!-- Digits behind the seconds; whatever follows them is the zone. -->
            <xsl:variable name="rest" select="concat(translate(substring($date, 21), 'Z+-', '   '), ' ')"/>
            <xsl:choose>
              <xsl:when test="substring($date, 20, 1) = '.'">
                <xsl:value-of select="substring(concat(substring-before($rest, ' '), '000'), 1, 3)"/>
              </xsl:when>
              <xsl:otherwise>000</xsl:otherwise>
            </xsl:choose>
          </xsl:when>
          <xsl:otherwise>00:00:00:000</xsl:otherwise>
        </xsl:choose>
      </xsl:when>
      <!-- The German form as it came, filled up from the right end of a whole one. -->
      <xsl:otherwise>
        <xsl:value-of select="concat($date, substring(' 00:00:00:000', string-length($date) - 9))"/>
      </xsl:otherwise>
    </xsl:choose>
  </xsl:template>
</xsl:stylesheet>
